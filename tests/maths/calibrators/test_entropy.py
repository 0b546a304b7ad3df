"""Entropy calibration: what 8-bit toolkits do, without being misled by zeros."""

from __future__ import annotations

import torch

from workbench.maths.calibrators.base import Samples
from workbench.maths.calibrators.entropy import entropy
from workbench.maths.grid import Grid

UNSIGNED = Grid(8, signed=False, symmetric=False)


def test_many_zeros_behind_a_relu_do_not_pull_the_clip_down() -> None:
    x = (torch.randn(50_000, generator=torch.Generator().manual_seed(0)) * 2 - 2).relu()
    x = x.clamp(max=6.0)  # nine in ten are zero, or nearly
    _, high = entropy(Samples(x[None]), UNSIGNED)
    assert float((x > high).float().mean()) < 0.002
    assert float(high) > 4


def test_a_few_freak_values_are_clipped() -> None:
    x = torch.randn(50_000, generator=torch.Generator().manual_seed(0)).abs()
    x[:3] = 40.0
    _, high = entropy(Samples(x[None]), UNSIGNED)
    assert 3 < float(high) < 10


def test_too_few_values_for_a_histogram_keep_their_extremes() -> None:
    x = torch.tensor([[-1.0, 0.2, 5.0]])
    low, high = entropy(Samples(x), Grid(8))
    assert (float(low), float(high)) == (-1.0, 5.0)
