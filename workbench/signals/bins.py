"""Bin regularisation (Han et al. 2021, ICCV, p. 5241; in SDQ, Huang et al. 2022, arXiv:2206.04459).

    L = mean over layers of Σ over bins (mean(w in bin) - level)² + var(w in bin)

A bin is what rounds to one level; empty ones do not count. Weights gather around the levels, so
little is lost in rounding, and every bin counts the same however few weights it holds. Mean and
variance together are the mean squared distance to the level, as which the term is computed. Where
a layer has several scales, the sum over bins is taken for each and averaged. Levels get no
gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workbench.quantizers.base import Quantizer
from workbench.signals.base import Seen
from workbench.signals.levels import levels_of, projected
from workbench.signals.registry import signal


def bin_distance(weight: Tensor, quantizer: Quantizer) -> Tensor:
    """Σ over bins of the mean squared distance to the level; the mean over scales."""
    grid, codes = quantizer.grid, quantizer.codes(weight)
    shape = grid.granularity.shape(weight.shape)
    scales = math.prod(shape)
    which = torch.arange(scales, device=weight.device).reshape(shape)
    bins = grid.qmax - grid.qmin + 1
    index = grid.granularity.expand(which, weight) * bins + (codes - grid.qmin).long()
    members = torch.bincount(index.flatten(), minlength=scales * bins)[index]
    gaps = (weight - levels_of(codes, quantizer)).square()
    return (gaps / members).sum() / scales


@signal(
    "bins",
    title="Bin regularisation",
    citation="Han et al. 2021, doi:10.1109/ICCV48922.2021.00521",
    needs=("weights",),
)
def of_weights(seen: Seen, options: object) -> Tensor:  # noqa: ARG001
    """Gathers the weights of each bin around its level."""
    held = projected(seen.weights)
    if not held:
        return seen.nothing()
    return torch.stack([bin_distance(own.weight, own.quantizer) for own in held]).mean()
