"""Cross-entropy calibration: probabilities are what is kept."""

from __future__ import annotations

import torch
from torch.nn import functional

from workbench.maths.grid import Grid, affine_range, fake_quantize
from workbench.maths.histogram import Histogram
from workbench.maths.metrics import kl_divergence
from workbench.maths.ranges import histogram_range

GRID = Grid(4, signed=False, symmetric=False)


def logits() -> torch.Tensor:
    """Many classes: a few are likely, and the rest lie far below at very different depths."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 40, generator=generator) * 8 - 20
    likely = torch.randint(40, (500, 3), generator=generator)
    return x.scatter(1, likely, torch.rand(500, 3, generator=generator) * 3)


def divergence(x: torch.Tensor, found: tuple[torch.Tensor, torch.Tensor]) -> float:
    return kl_divergence(x, fake_quantize(x, *affine_range(*found, GRID), GRID))


def test_probabilities_are_nearer_than_under_the_least_error() -> None:
    x = logits()
    histogram = Histogram()
    histogram.add(x)
    ours = divergence(x, histogram_range(histogram, GRID, "cross_entropy", x))
    theirs = divergence(x, histogram_range(histogram, GRID, "mse"))
    assert ours < 0.5 * theirs
    assert functional.softmax(x, -1).amax(-1).mean() > 0.3  # the likely classes are what counts


def test_without_classes_it_is_the_least_error() -> None:
    histogram = Histogram()
    histogram.add(logits())
    ours = histogram_range(histogram, GRID, "cross_entropy")
    assert ours == histogram_range(histogram, GRID, "mse")
