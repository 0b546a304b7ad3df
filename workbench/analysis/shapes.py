"""The values of one site as pictures need them: the whole, channel by channel, and on the grid.

Bins are true bins of fixed number: a channel whose values go further has wider ones. The count of
each code is exact, so the float and the dequantized distribution stand side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.analysis.channels import COUNTED_BITS, weight_axis
from workbench.analysis.distributions import grid_record
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.graph.taps import capture, channel_axis, value_nodes
from workbench.maths.grid import dequantize
from workbench.maths.histogram import Histogram
from workbench.quantizers.base import Quantizer

BINS, RIDGE_BINS = 2048, 64
RIDGES = 64
#: a bin so many times the middle one calls for a logarithmic axis
STEEP = 200.0


def site_shape(
    model: QuantizedGraph,
    site: str,
    batches: Iterable[tuple[Tensor, ...]] = (),
    channels: Sequence[int] = (),
) -> dict[str, Any]:
    """A histogram record of a site, with ridges and what the grid makes of the values.

    Args:
        model: quantized.
        site: of a weight or an activation.
        batches: inputs; activations are those of the float network.
        channels: of which a ridge is wanted; the first 64 by default.

    Returns:
        `Histogram.record` with `grid`, `log` (whether a logarithmic axis shows more), `levels`
        (`values` of the levels, in codes where each channel has its own scale, and `counts`; None
        for levels of their own or more than 10 bits), `ridges`: a histogram record with its
        `channel` each; where all values share a scale also `scale` and `zero_point`.
    """
    place, quantizer = model.sites[site], model.quantizer(site)
    whole, ridges, levels = Histogram(BINS), dict[int, Histogram](), Levels(quantizer)
    for value, axis in _values(model, place, batches):
        whole.add(value)
        levels.add(value)
        rows = value.movedim(axis, 0).flatten(1)
        for index in channels or range(min(RIDGES, len(rows))):
            ridges.setdefault(index, Histogram(RIDGE_BINS)).add(rows[index])
    affine = [float(p) for p in quantizer.affine()] if quantizer.grid.per_tensor else []
    return {
        **whole.record(),
        **dict(zip(("scale", "zero_point"), affine, strict=False)),
        "grid": grid_record(quantizer.grid),
        "log": is_steep(whole.counts),
        "levels": levels.record(),
        "ridges": [{"channel": index, **ridge.record()} for index, ridge in ridges.items()],
    }


class Levels:
    """How many values lie on each level of a grid.

    Args:
        quantizer: of the site.
    """

    def __init__(self, quantizer: Quantizer) -> None:
        self._quantizer = quantizer
        grid = quantizer.grid
        known = grid.bits <= COUNTED_BITS and not quantizer.form
        self._counts = torch.zeros(grid.qmax - grid.qmin + 1, dtype=torch.int64) if known else None

    def add(self, x: Tensor) -> None:
        """Count the values of one tensor."""
        if self._counts is not None:
            index = (self._quantizer.codes(x) - self._quantizer.grid.qmin).long().flatten()
            self._counts += torch.bincount(index, minlength=len(self._counts))

    def record(self) -> dict[str, list[Any]] | None:
        """Values of the levels, in codes where channels have their own scale, and their counts."""
        if self._counts is None:
            return None
        quantizer = self._quantizer
        grid, table = quantizer.grid, quantizer.table()
        codes = torch.arange(grid.qmin, grid.qmax + 1).float()
        scale, zero = (p.detach() for p in quantizer.affine())
        if grid.per_tensor:
            values = dequantize(codes, scale, zero, grid, table)
        else:
            values = codes if table is None else table.detach()
        return {"values": values.tolist(), "counts": self._counts.tolist()}


def is_steep(counts: Tensor) -> bool:
    """Whether the largest bin hides the others on a linear axis.

    Example:
        >>> is_steep(torch.tensor([9.0, 10.0, 8.0])), is_steep(torch.tensor([9.0, 9000.0, 8.0]))
        (False, True)
    """
    used = counts[counts > 0]
    return bool(len(used)) and float(used.max()) > STEEP * float(used.median())


def _values(
    model: QuantizedGraph, site: Site, batches: Iterable[tuple[Tensor, ...]]
) -> Iterator[tuple[Tensor, int]]:
    """The float values of a site, and the axis of its channels."""
    if site.kind == "weight":
        yield model.weight(site.name).detach(), weight_axis(model, site)
        return
    node = value_nodes(model.graph.module)[site.tensor]
    for batch in batches:
        with torch.no_grad():
            value = capture(model.graph.module, batch, {site.tensor})[site.tensor]
        yield value, channel_axis(node, value.ndim)
