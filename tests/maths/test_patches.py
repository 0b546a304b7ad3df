"""Rows of convolutions against torch's own unfolding."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from workbench.maths.patches import BLOCK, Places, Window, patches, spread

ALL = 10**6


def window(kernel=(3, 3), strides=(1, 1), dilations=(1, 1), begins=(1, 1), ends=(1, 1)) -> Window:
    return Window(kernel, strides, dilations, begins, ends)


def rows(x: torch.Tensor, moving: Window, groups: int = 1, positions: int = ALL) -> torch.Tensor:
    return patches(x, moving, groups, positions, Places())


@pytest.mark.parametrize("strides", [(1, 1), (2, 3)], ids=str)
@pytest.mark.parametrize("dilations", [(1, 1), (2, 1)], ids=str)
@pytest.mark.parametrize("pads", [(0, 0), (1, 2)], ids=str)
def test_all_positions_are_what_unfold_gives(strides, dilations, pads) -> None:
    x = torch.randn(2, 4, 9, 11)
    found = rows(x, window((3, 2), strides, dilations, pads, pads), groups=2)
    theirs = functional.unfold(x, (3, 2), dilations, pads, strides)  # (batch, C * taps, positions)
    theirs = theirs.unflatten(1, (2, -1)).movedim(0, 2).flatten(2).mT
    assert torch.equal(found, theirs)


def test_uneven_pads_are_those_of_the_padded_input() -> None:
    x = torch.randn(2, 3, 6, 6)
    found = rows(x, window((3, 3), (2, 2), begins=(0, 1), ends=(1, 0)))
    theirs = functional.unfold(functional.pad(x, (1, 0, 0, 1)), 3, stride=2)
    assert torch.equal(found[0], theirs.movedim(0, 1).flatten(1).T)


def test_pads_wider_than_the_kernel_give_rows_of_zeros() -> None:
    found = rows(torch.ones(1, 1, 2, 2), window((1, 1), begins=(3, 3), ends=(3, 3)))
    assert found.shape == (1, 64, 1)
    assert float(found.sum()) == 4


def test_a_lattice_takes_about_as_many_positions_as_asked() -> None:
    found = rows(torch.randn(3, 2, 40, 40), window(), positions=100)
    assert 80 <= found.shape[1] / 3 <= 130


def test_neighbours_share_their_places_and_other_blocks_have_others() -> None:
    pixels = torch.arange(40.0 * 40).reshape(1, 1, 40, 40).expand(4 * BLOCK, -1, -1, -1)
    one = window((1, 1), begins=(0, 0), ends=(0, 0))
    seen = [
        patches(pixels[:BLOCK], one, 1, 30, Places(first=at)).flatten().tolist()
        for at in range(0, 6 * BLOCK, BLOCK)
    ]
    assert all(len(set(found)) == len(found) / BLOCK for found in seen)
    assert len({min(found) for found in seen}) > 3


@pytest.mark.parametrize(("stride", "dilation", "pad", "extra"), [(2, 1, 1, 1), (3, 2, 0, 2)])
def test_backward_kernels_over_spread_inputs_transpose(stride, dilation, pad, extra) -> None:
    x, weight = torch.randn(2, 3, 5, 4), torch.randn(3, 4, 3, 2)  # (C, out, kh, kw)
    reach = [dilation * (k - 1) for k in (3, 2)]
    begins = tuple(r - pad for r in reach)
    ends = tuple(r - pad + extra for r in reach)
    moving = Window((3, 2), (1, 1), (-dilation, -dilation), begins, ends)
    found = rows(spread(x, (stride, stride)), moving)[0]
    ours = found @ weight.movedim(1, 0).flatten(1).T
    theirs = functional.conv_transpose2d(
        x, weight, None, stride, pad, extra if extra < max(stride, dilation) else 0, 1, dilation
    )
    assert torch.allclose(ours, theirs.movedim(1, -1).reshape(-1, 4), atol=1e-5)
