"""Ranges for activations and weights, as every method needs them before it learns anything else."""

from __future__ import annotations

import torch

from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.maths.histogram import Histogram
from workbench.maths.ranges import histogram_range, weight_range
from workbench.methods.walk import ActivationStop


@torch.no_grad()
def calibrate_activation(model: QuantizedGraph, stop: ActivationStop, calibrator: str) -> Histogram:
    """Set the range of an activation site from what arrives there; returns its histogram."""
    histogram = Histogram()
    for values in stop.values():
        histogram.add(values)
    quantizer = model.quantizer(stop.site.name)
    quantizer.set_range(*histogram_range(histogram, stop.site.grid, calibrator))
    return histogram


@torch.no_grad()
def calibrate_weight(model: QuantizedGraph, site: Site, calibrator: str) -> None:
    """Set the range of a weight site from the weight alone."""
    weight = model.weight(site.name)
    model.quantizer(site.name).set_range(*weight_range(weight, site.grid, calibrator))


def is_calibrated(model: QuantizedGraph, site: Site) -> bool:
    """True once a range has been set; a fresh scale is exactly one everywhere."""
    scale = model.quantizer(site.name).affine()[0]
    return not bool((scale == 1).all())
