"""Moments gathered in parts and by halves are those of all rows."""

from __future__ import annotations

import pytest
import torch

from workbench.maths.moments import PANEL, Moments, gram_matrix, pose


def streams(inputs: int = 30, rows: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, rows, inputs, generator=generator) + 0.3
    return x, x + 0.1 * torch.randn(x.shape, generator=generator)


@pytest.mark.parametrize("inputs", [7, PANEL + 1, 2 * PANEL + 60])
def test_mirrored_halves_give_the_whole_product(inputs: int) -> None:
    rows = torch.randn(2, 20, inputs, generator=torch.Generator().manual_seed(0))
    found = gram_matrix(rows)
    assert torch.allclose(found, rows.mT @ rows, atol=1e-4)
    assert torch.allclose(found, found.mT, atol=1e-5)


@pytest.mark.parametrize("outputs", [4, 40])
def test_moments_for_one_weight_pose_the_same_problem(outputs: int) -> None:
    floats, quantized = streams()
    weight = torch.randn(2, outputs, 30, generator=torch.Generator().manual_seed(1))
    whole, own = Moments(2, 30), Moments(2, 30, weight)
    for moments in (whole, own):
        moments.add(quantized[:, :100], floats[:, :100])
        moments.add(quantized[:, 100:], floats[:, 100:])
    ours, theirs = (pose(weight, m, centred=True, damping=0.01) for m in (own, whole))
    assert torch.allclose(ours.target, theirs.target, atol=1e-4)
    assert torch.equal(ours.hessian, theirs.hessian)
    cross = own.cross
    assert cross is not None
    assert cross.shape == ((2, 4, 30) if outputs == 4 else (2, 30, 30))


@pytest.mark.parametrize("weighted", [False, True])
def test_equal_streams_may_come_before_different_ones(weighted: bool) -> None:
    floats, quantized = streams()
    weight = torch.randn(2, 4, 30, generator=torch.Generator().manual_seed(1))
    mixed, told = (Moments(2, 30, weight if weighted else None) for _ in range(2))
    mixed.add(floats)
    mixed.add(quantized, floats)
    mixed.add(floats)
    told.add(floats, floats.clone())
    told.add(quantized, floats)
    told.add(floats, floats.clone())
    assert torch.allclose(mixed.goal(weight), told.goal(weight), rtol=1e-5, atol=1e-3)
    assert torch.equal(mixed.sum_float, told.sum_float)


def test_output_power_is_that_of_the_layer() -> None:
    floats, _ = streams()
    weight, bias = torch.randn(2, 3, 30), torch.randn(2, 3)
    moments = Moments(2, 30)
    moments.add(floats)
    direct = (floats @ weight.mT + bias[:, None]).square().mean(1).double()
    assert torch.allclose(moments.output(weight, bias), direct, rtol=1e-4)
    again = Moments.restored(moments.held())
    assert torch.equal(again.output(weight, bias), moments.output(weight, bias))
    assert again.count == moments.count
