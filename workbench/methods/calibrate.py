"""Ranges for activations and weights, as every method needs them before it learns anything else."""

from __future__ import annotations

import torch

from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.maths.histogram import Histogram
from workbench.maths.ranges import histogram_range
from workbench.methods.walk import ActivationStop


@torch.no_grad()
def calibrate_activation(model: QuantizedGraph, stop: ActivationStop, calibrator: str) -> None:
    """Set the range of an activation site from what arrives there.

    A site that shares follows the first one of its group, whose range covers them all.
    """
    if stop.site.shares is not None:
        return
    histogram = stop.together or Histogram()
    for values in stop.values() if stop.together is None else ():
        histogram.add(values)
    quantizer = model.quantizer(stop.site.name)
    quantizer.set_range(*histogram_range(histogram, stop.site.grid, calibrator))


@torch.no_grad()
def calibrate_weight(model: QuantizedGraph, site: Site, calibrator: str) -> None:
    """Set the range of a weight site from the weight alone."""
    model.quantizer(site.name).fit(model.weight(site.name).detach(), calibrator)


def is_calibrated(model: QuantizedGraph, site: Site) -> bool:
    """True once a range has been set; a fresh scale is exactly one everywhere."""
    scale = model.quantizer(site.name).affine()[0]
    return not bool((scale == 1).all())
