"""What lies on each site: histograms of weights and activations, with their grid, as plain records.

Weights with a scale per channel or group are counted in units of their own step, `w / s`, so that
one grid fits all of them; the squared steps are summed beside the counts ("energy"), so that errors
still weigh what they weigh in the tensor.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from workbench.analysis.channels import weight_axes
from workbench.analysis.weights import channel_axis, one_channel
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.graph.taps import capture
from workbench.maths.grid import Grid, fake_quantize
from workbench.maths.histogram import Histogram
from workbench.quantizers.base import Frozen

BINS = 2048


def distributions(
    model: QuantizedGraph, batches: Iterable[tuple[Tensor, ...]]
) -> dict[str, dict[str, Any]]:
    """A record for each weight and activation site, by site name.

    Args:
        model: quantized; weights are taken as learning left them, before rounding.
        batches: inputs; activations are those of the float network.
    """
    found = _activations(model, batches)
    frozen, axes = model.frozen(), weight_axes(model)
    for site in model.of_kind("weight"):
        weight = model.weight(site.name).detach()
        found[site.name] = weight_record(weight, frozen[site.name], axes[site.name])
    return {name: {**record, **_place(model.sites[name])} for name, record in found.items()}


def weight_record(weight: Tensor, frozen: Frozen, axis: int = 0) -> dict[str, Any]:
    """Histogram, grid and channels of a weight.

    Args:
        weight: float values, before rounding.
        frozen: grid, scale and zero-point.
        axis: of the layer's output channels, where their scales are not their own.
    """
    return {**_drawn(weight, frozen), "channels": _channels(weight, frozen, axis)}


def _drawn(weight: Tensor, frozen: Frozen) -> dict[str, Any]:
    """Histogram and grid of a weight, or of a part of one."""
    if frozen.grid.per_tensor:
        record = counted(weight)
        scale, zero = float(frozen.scale), float(frozen.zero_point)
    else:
        steps = frozen.grid.granularity.expand(frozen.scale, weight)
        offset = frozen.grid.granularity.expand(frozen.zero_point.float(), weight)
        record = {
            **counted(weight / steps + offset, steps.square().expand_as(weight)),
            "unit": "steps",
            "draggable": frozen.grid.symmetric,
        }
        scale, zero = 1.0, 0.0
    return {**record, "grid": grid_record(frozen.grid), "scale": scale, "zero_point": zero}


def channel_record(weight: Tensor, frozen: Frozen, index: int, axis: int = 0) -> dict[str, Any]:
    """The same for one output channel: in its own units where it has one scale.

    A grid that it shares with other channels is not dragged for one of them.
    """
    channels = _channels(weight, frozen, axis)
    if frozen.grid.granularity.kind != "channel":
        part, held = one_channel(weight, frozen, index, axis)
        return {**_drawn(part, held), "draggable": False, "channels": channels}
    axis = frozen.grid.granularity.axis
    row = weight.select(axis, index)
    scale, zero = float(frozen.scale[index]), float(frozen.zero_point[index])
    return {
        **counted(row),
        "grid": grid_record(frozen.grid),
        "scale": scale,
        "zero_point": zero,
        "channels": channels,
    }


def counted(values: Tensor, energy: Tensor | None = None, bins: int = BINS) -> dict[str, Any]:
    """A histogram record of `values`, with `energy` summed in each bin."""
    histogram = Histogram(bins)
    histogram.add(values)
    record = histogram.record()
    record["counts"] = [int(count) for count in record["counts"]]
    if energy is not None:
        place = ((values - histogram.start) / histogram.width).long().clamp(0, bins - 1)
        sums = torch.zeros(bins, dtype=torch.float64)
        sums.index_add_(0, place.flatten(), energy.flatten().double())
        record["energy"] = [float(f"{value:.6g}") for value in sums.tolist()]
    return record


def grid_record(grid: Grid) -> dict[str, Any]:
    """What a picture needs of a grid."""
    return {
        "bits": grid.bits,
        "signed": grid.signed,
        "symmetric": grid.symmetric,
        "kind": grid.granularity.kind,
        "qmin": grid.qmin,
        "qmax": grid.qmax,
    }


def _place(site: Site) -> dict[str, Any]:
    readers = [node for node, _ in site.edges]
    return {"kind": site.kind, "layer": site.layer, "tensor": site.tensor, "readers": readers}


def _channels(weight: Tensor, frozen: Frozen, axis: int) -> dict[str, Any]:
    """Widest weight and share of the squared error of each channel."""
    axis = channel_axis(frozen, axis)
    rounded = _rounded(weight, frozen)
    rows = weight.movedim(axis, 0).flatten(1)
    errors = (weight - rounded).movedim(axis, 0).flatten(1).double().square().sum(dim=1)
    share = errors / errors.sum().clamp(min=1e-30)
    return {
        "ranges": [float(f"{value:.5g}") for value in rows.abs().amax(dim=1).tolist()],
        "share": [float(f"{value:.5g}") for value in share.tolist()],
    }


def _rounded(weight: Tensor, frozen: Frozen) -> Tensor:
    """The weight as exported: learned codes where there are any, else the nearest."""
    if frozen.codes is not None:
        return frozen.values()
    return fake_quantize(weight, frozen.scale, frozen.zero_point.float(), frozen.grid)


def _activations(
    model: QuantizedGraph, batches: Iterable[tuple[Tensor, ...]]
) -> dict[str, dict[str, Any]]:
    sites = model.of_kind("activation")
    histograms = {site.name: Histogram(BINS) for site in sites}
    with torch.no_grad():
        for batch in batches:
            values = capture(model.graph.module, batch, {site.tensor for site in sites})
            for site in sites:
                histograms[site.name].add(values[site.tensor])
    frozen = model.frozen()
    return {name: _activation_record(h, frozen[name]) for name, h in histograms.items()}


def _activation_record(histogram: Histogram, frozen: Frozen) -> dict[str, Any]:
    record = histogram.record()
    record["counts"] = [int(count) for count in record["counts"]]
    return {
        **record,
        "grid": grid_record(frozen.grid),
        "scale": float(frozen.scale),
        "zero_point": float(frozen.zero_point),
    }
