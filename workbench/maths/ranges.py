"""The range [low, high] that a grid should cover, found by a calibrator asked for by name."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.foundation.errors import RecipeError
from workbench.maths.calibrators.base import Range, Samples
from workbench.maths.calibrators.registry import CALIBRATORS, Calibrator, Served, serving
from workbench.maths.grid import Grid
from workbench.maths.histogram import Histogram


def calibrator(name: str, kind: Served) -> Calibrator:
    """The calibrator called `name`.

    Raises:
        RecipeError: an unknown name, or a calibrator that does not serve `kind`.
    """
    entry = CALIBRATORS[name]
    if kind not in entry.facts["serves"]:
        raise RecipeError(
            f"calibrator '{name}' does not serve {kind}; choose among: {', '.join(serving(kind))}"
        )
    return entry.make


def weight_range(weight: Tensor, grid: Grid, name: str = "mse") -> Range:
    """Range of each scale of a weight; two tensors of the scale's shape.

    Raises:
        RecipeError: `name` is no calibrator of weights.
    """
    return fitted_range(weight, grid, calibrator(name, "weights"))


def fitted_range(weight: Tensor, grid: Grid, found: Calibrator) -> Range:
    """As `weight_range`, by a calibrator that need not be registered."""
    rows = grid.granularity.rows(weight.detach())
    low, high = found(Samples(rows), grid)
    unrows = grid.granularity.unrows
    return unrows(low, weight.shape), unrows(high, weight.shape)


def histogram_range(
    histogram: Histogram, grid: Grid, name: str = "mse", classes: Tensor | None = None
) -> Range:
    """Range of one activation tensor from its histogram; two scalars.

    Args:
        histogram: of everything that was seen.
        grid: what the range is for.
        name: of the calibrator.
        classes: (positions, classes) some rows of a tensor that a softmax reads.

    Raises:
        RecipeError: `name` is no calibrator of activations.
    """
    low, high = calibrator(name, "activations")(samples(histogram, classes), grid)
    return low[0], high[0]


def samples(histogram: Histogram, classes: Tensor | None = None) -> Samples:
    """What a histogram says to a calibrator: bin centres for values, and the exact extremes."""
    centres = histogram.centres.clamp(histogram.low, histogram.high).float()
    values = torch.cat([centres, torch.tensor([histogram.low, histogram.high])])[None]
    counts = torch.cat([histogram.counts.float(), torch.ones(2)])[None]
    low, high = histogram.averaged
    return Samples(values, counts, (torch.tensor([low]), torch.tensor([high])), classes)
