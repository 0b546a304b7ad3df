"""Mixtures of grids: numbers by hand, and the gradients of the choice of bits."""

from __future__ import annotations

import pytest
import torch

from workbench.foundation.errors import RecipeError
from workbench.maths.calibrators.aciq import gauss_clip
from workbench.maths.grid import Granularity, Grid, over_range
from workbench.quantizers.branch_bits import BranchBits
from workbench.quantizers.frac_bits import FracBits
from workbench.quantizers.lsq import LSQ
from workbench.quantizers.mixture import Mixture, MixtureOptions, listed, worded
from workbench.quantizers.registry import QUANTIZERS

X = torch.tensor([[-0.9, -0.31, 0.05], [0.26, 0.42, 0.8]])


def fractional(bits: float, widths: str = "2-8", grid: Grid | None = None) -> FracBits:
    """Over [-1, 1], with λ = bits."""
    quantizer = FracBits(grid or Grid(4), (2, 3), MixtureOptions(widths=widths))
    ones = torch.ones(quantizer.scale.shape)
    quantizer.set_range(-ones, ones)
    quantizer.begin(bits)
    return quantizer


def plain(bits: int) -> torch.Tensor:
    """Equal steps over the same ends."""
    quantizer = LSQ(Grid(bits), (2, 3))
    quantizer.set_range(torch.tensor(-1.0), torch.tensor(1.0))
    return quantizer(X).detach()


def test_the_mixture_by_hand() -> None:
    quantizer = fractional(2.3)
    assert torch.allclose(quantizer(X), 0.7 * plain(2) + 0.3 * plain(3), atol=1e-6)
    two, three = 2 / 3, 2 / 7  # the steps of a range of 2
    one = fractional(2.3)(torch.tensor([[0.26]]))
    assert float(one.detach()) == pytest.approx(0.7 * 0 * two + 0.3 * 1 * three, abs=1e-6)


def test_the_gradient_of_the_bits_is_the_difference_of_the_grids() -> None:
    upstream = torch.tensor([[1.0, -2.0, 0.5], [3.0, 1.0, -1.0]])
    for bits, low in ((2.3, 2), (3.0, 3)):  # at whole bits, towards the next
        quantizer = fractional(bits)
        (quantizer(X) * upstream).sum().backward()
        expected = float((upstream * (plain(low + 1) - plain(low))).sum())
        assert float(quantizer.bits.grad) == pytest.approx(expected, abs=1e-5)


def test_the_ends_let_bits_come_back_and_not_go_on() -> None:
    quantizer = fractional(8)
    assert torch.allclose(quantizer(X), plain(8), atol=1e-6)
    difference = plain(8) - plain(7)
    for sign, moves in ((1.0, True), (-1.0, False)):  # descent goes against the gradient
        quantizer.zero_grad()
        (sign * quantizer(X) * difference).sum().backward()
        expected = float(difference.square().sum()) if moves else 0.0
        assert float(quantizer.bits.grad) == pytest.approx(expected, rel=1e-3)
    with torch.no_grad():
        quantizer.bits.fill_(9.0)
    assert float(quantizer.expected().detach()) == 8.0
    assert quantizer.chosen() == 8


def test_neighbours_that_the_target_has() -> None:
    quantizer = fractional(5, widths="4/8")
    assert torch.allclose(quantizer(X), 0.75 * plain(4) + 0.25 * plain(8), atol=1e-6)
    assert quantizer.chosen() == 4
    quantizer.begin(3)
    assert float(quantizer.expected().detach()) == 4.0
    (quantizer.expected() * 1.0).backward()
    assert float(quantizer.bits.grad) == 0.0  # fewer there are not


@pytest.mark.parametrize(("bits", "chosen"), [(2.4, 2), (2.6, 3), (2.5, 2), (8.0, 8)])
def test_the_nearest_width_is_chosen(bits: float, chosen: int) -> None:
    assert fractional(bits).chosen() == chosen


def test_the_range_is_learned_through_both_grids() -> None:
    quantizer = fractional(2.3)
    steps = quantizer.scale.detach()
    quantizer(X).sum().backward()
    by_hand = 0.0
    for bits, share in ((2, 0.7), (3, 0.3)):
        single = LSQ(Grid(bits), (2, 3))
        single.set_affine(*over_range(steps, torch.tensor(0.0), Grid(4), Grid(bits)))
        single.gradient_factor = quantizer.gradient_factor
        single(X).sum().backward()
        by_hand += share * float(single.scale.grad) * 15 / (2**bits - 1)
    assert float(quantizer.scale.grad) == pytest.approx(by_hand, rel=1e-4)


def test_branches_are_weighed_by_a_softmax() -> None:
    quantizer = BranchBits(Grid(3), (2, 3), MixtureOptions(widths="2-4"))
    quantizer.set_range(torch.tensor(-1.0), torch.tensor(1.0))
    with torch.no_grad():
        quantizer.alpha.copy_(torch.tensor([0.1, 0.3, 0.6]).log())
    assert float(quantizer.expected().detach()) == pytest.approx(0.2 + 0.9 + 2.4)
    assert quantizer.chosen() == 4
    parts = []
    for bits in (2, 3, 4):
        single = LSQ(Grid(bits), (2, 3))
        reach = torch.tensor(gauss_clip(bits) / gauss_clip(3))
        single.set_range(-reach, reach)
        parts.append(single(X).detach())
    mixed = 0.1 * parts[0] + 0.3 * parts[1] + 0.6 * parts[2]
    assert torch.allclose(quantizer(X), mixed, atol=1e-6)
    quantizer(X).sum().backward()
    by_hand = [p * float((part - mixed).sum()) for p, part in zip((0.1, 0.3, 0.6), parts)]  # noqa: B905
    assert quantizer.alpha.grad.tolist() == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize("kind", [Granularity("channel", 0), Granularity("group", 1, 2)])
@pytest.mark.parametrize("name", ["frac_bits", "branch_bits"])
def test_many_scales_and_zero_points(name: str, kind: Granularity) -> None:
    for grid in (Grid(4, granularity=kind), Grid(4, False, False, kind)):
        quantizer = QUANTIZERS[name].make(grid, (2, 3))
        assert isinstance(quantizer, Mixture)
        ones = torch.ones(quantizer.scale.shape)
        quantizer.set_range(-ones, ones)
        quantizer.begin(8.0)
        if name == "frac_bits":
            assert float((quantizer(X) - X).detach().abs().max()) < 0.02
        assert float(quantizer.shares().detach().sum()) == pytest.approx(1)


def test_widths_in_words() -> None:
    assert [worded(listed(text)) for text in ("2-8", "4/8", "2/3/4")] == ["2-8", "4/8", "2-4"]
    for text in ("8", "8-2", "2/2", "0-4", "4-9", "two", "2-4-6"):
        with pytest.raises(RecipeError, match=f"'{text}' are no bits to choose from"):
            QUANTIZERS.parsed("frac_bits", {"widths": text})


def test_tables_and_odd_levels_are_refused() -> None:
    with pytest.raises(RecipeError, match="quantizer 'frac_bits' brings levels of its own"):
        FracBits(Grid(4, table="nf4"), (2, 3))
    with pytest.raises(RecipeError, match="quantizer 'branch_bits' has no levels of '16' bits"):
        BranchBits(Grid(16), (2, 3))
