"""LSQ against the catalogued gradients, per tensor and per channel."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.maths.grid import Granularity, Grid
from workbench.quantizers.lsq import LSQ

VALUES = [-1.0, -0.33, 0.09, 0.27, 0.9]
CASES = [
    (0.2, Grid(3), [-0.8, -0.4, 0, 0.2, 0.6], 0.25819889, -0.55512761, 0.59813488),
    (0.5, Grid(2), [-1, -0.5, 0, 0.5, 0.5], 0.44721360, -0.47404641, 1.036),
    (0.2, Grid(3, False, True), [0, 0, 0, 0.2, 0.8], 0.16903085, -0.21974011, 0.39157119),
]


@pytest.mark.parametrize(("step", "grid", "expected", "factor", "gradient", "initial"), CASES)
def test_catalogued_numbers(
    step: float, grid: Grid, expected: list[float], factor: float, gradient: float, initial: float
) -> None:
    v = torch.tensor(VALUES)
    quantizer = LSQ(grid, tuple(v.shape))
    quantizer.set_affine(torch.tensor(step), torch.tensor(0.0))
    result = quantizer(v)
    assert result.tolist() == pytest.approx(expected, abs=1e-6)
    assert quantizer.gradient_factor(v) == pytest.approx(factor, abs=1e-7)
    result.sum().backward()
    assert float(quantizer.scale.grad) == pytest.approx(gradient, abs=1e-5)
    quantizer.init_from(v)
    assert float(quantizer.scale.detach()) == pytest.approx(initial, abs=1e-5)


def test_per_channel_gradient_counts_the_values_of_one_channel() -> None:
    weight = torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    grid = Grid(4, granularity=Granularity("channel", 0))
    quantizer = LSQ(grid, tuple(weight.shape))
    quantizer.init_from(weight)
    assert quantizer.gradient_factor(weight) == pytest.approx(1 / math.sqrt(54 * 7))
    quantizer(weight).sum().backward()
    step = quantizer.scale.detach()
    for channel in range(4):
        u = weight[channel] / step[channel]
        inside = (u > grid.qmin) & (u < grid.qmax)
        by_hand = torch.where(inside, u.round() - u, u.clamp(grid.qmin, grid.qmax).round()).sum()
        expected = float(by_hand) / math.sqrt(54 * 7)
        found = float(quantizer.scale.grad[channel])
        assert found == pytest.approx(expected, rel=1e-4)


def test_activation_features_leave_out_the_batch() -> None:
    quantizer = LSQ(Grid(8, False, False), (0, 6))
    assert quantizer.gradient_factor(torch.zeros(50, 6)) == pytest.approx(1 / math.sqrt(6 * 255))


def test_a_negative_step_is_used_by_its_size() -> None:
    quantizer = LSQ(Grid(4), (3,))
    with torch.no_grad():
        quantizer.scale.fill_(-0.5)
    assert quantizer.affine()[0].item() == 0.5
    assert quantizer(torch.tensor([0.6, 0.0, -0.6])).tolist() == [0.5, 0.0, -0.5]
