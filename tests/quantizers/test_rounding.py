"""AdaRound's variables against the catalogued numbers."""

from __future__ import annotations

import pytest
import torch

from workbench.maths.grid import Granularity, Grid, affine_range
from workbench.quantizers.rounding import (
    Rounding,
    inverse_rectified_sigmoid,
    rectified_sigmoid,
)


def test_rectified_sigmoid() -> None:
    v = torch.tensor([0.0, -2.39789527, 2.39789527, 1.0, -1.0])
    expected = [0.5, 0.0, 1.0, 0.77727029, 0.22272971]
    assert rectified_sigmoid(v).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("share", "v"),
    [
        (0, -2.397895),
        (0.1, -1.609438),
        (0.25, -0.887303),
        (0.3, -0.693147),
        (0.5, 0),
        (0.9, 1.609438),
    ],
)
def test_start_values(share: float, v: float) -> None:
    assert float(inverse_rectified_sigmoid(torch.tensor(share))) == pytest.approx(v, abs=1e-5)


def test_soft_weights_start_as_the_float_weights_and_harden_to_the_nearest() -> None:
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    grid = Grid(4, granularity=Granularity("channel", 0))
    quantizer = Rounding(grid, (5, 7))
    quantizer.set_affine(*affine_range(weight.amin(1) * 1.01, weight.amax(1) * 1.01, grid))
    quantizer.start(weight)
    scale = grid.granularity.expand(quantizer.scale, weight)
    within = weight.clamp(grid.qmin * scale, grid.qmax * scale)
    assert torch.allclose(quantizer(weight), within, atol=1e-5)
    assert torch.equal(quantizer.codes(weight), (weight / scale).round().clamp(-8, 7))
