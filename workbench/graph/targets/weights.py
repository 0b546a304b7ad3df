"""Grids of weights and biases: what was asked for, turned into what the target can run."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.foundation.errors import TargetError
from workbench.graph.sites import PRODUCTS, Layer, Site, Weight
from workbench.graph.targets.requests import WeightGrid
from workbench.graph.targets.widths import Widths
from workbench.maths.grid import Granularity, Grid
from workbench.maths.levels import UNIFORM, table_serves

if TYPE_CHECKING:
    from workbench.graph.targets.base import Target

BIAS_BITS = 32
#: operators whose weights can have groups: along the axis that is summed
GROUPED = PRODUCTS | {"Gemm", "Gather"}


def weight_sites(
    target: Target,
    found: Sequence[Layer],
    nodes: Mapping[str, ir.Node],
    request: WeightGrid,
    widths: Widths,
    inputs: Mapping[str, int],
    floats: Collection[str] = (),
) -> list[Site]:
    """One site for each weight tensor of the layers that keep any bits.

    Args:
        inputs: bits of the quantized activations that a layer reads; layers not in it read floats.
        floats: layers that compute in float all the same, and so saturate nothing.

    Raises:
        TargetError: levels of a table where integers meet.
    """
    seen: dict[str, Site] = {}
    for layer in found:
        for weight in layer.weights:
            width = widths.of_weight(layer.name, weight.name)
            edge = (layer.name, weight.index)
            if not width:
                continue
            if weight.name in seen:
                site = seen[weight.name]
                seen[weight.name] = replace(site, edges=(*site.edges, edge))
                continue
            active = inputs.get(layer.name, 0)
            summed = 0 if layer.name in floats else active
            limit = target.weight_limit(nodes[layer.name], layer, request, summed)
            grid, note = _grid(target, request, weight, layer, min(width, limit), active)
            if limit < width:
                note = "; ".join(filter(None, (target.limit_note.format(width=width), note)))
            seen[weight.name] = Site(
                name=weight.name,
                kind="weight",
                tensor=weight.name,
                edges=(edge,),
                layer=layer.name,
                grid=grid,
                shape=weight.shape,
                note=note,
                widths=_widths(target, grid, active, limit),
            )
    return list(seen.values())


def _widths(target: Target, grid: Grid, active: int, limit: int) -> tuple[int, ...]:
    """The numbers of bits that the target runs a weight in, on a grid otherwise the same."""
    legal = set(target.weight_bits if active else target.stored_bits)
    if grid.granularity.kind == "group":
        legal &= set(target.grouped_beside_integers if active else target.grouped_bits)
    known = (bits for bits in sorted(legal) if bits <= limit)
    return tuple(bits for bits in known if grid.uniform or table_serves(grid.table, bits))


def _grid(
    target: Target, request: WeightGrid, weight: Weight, layer: Layer, bits: int, active: int
) -> tuple[Grid, str]:
    """The grid, and what had to be changed about it."""
    granularity, note = _granularity(target, request, weight, layer, bits, active)
    table = request.table if table_serves(request.table, bits) else UNIFORM
    if table != request.table:
        note = "; ".join(filter(None, (note, f"uniform: '{request.table}' has no {bits} bits")))
    if table != UNIFORM and active:
        raise TargetError(
            f"layer '{layer.name}' asked for the levels of '{table}' under {active}-bit "
            "activations, and integer kernels need equal steps; use table 'uniform', or float "
            "activations"
        )
    return Grid(bits, request.symmetric, request.symmetric, granularity, table=table), note


def _granularity(
    target: Target, request: WeightGrid, weight: Weight, layer: Layer, bits: int, active: int
) -> tuple[Granularity, str]:
    if request.granularity == "tensor":
        return Granularity(), ""
    if layer.op in PRODUCTS and len(weight.shape) > 2 and active:
        return Granularity(), "one scale: a stack of matrices has no scales of its own"
    channel = Granularity("channel", weight.channel_axis)
    if request.granularity == "channel":
        return channel, ""
    if layer.op not in GROUPED or len(weight.shape) != 2:
        return channel, f"a scale for each channel: {layer.op} weights have no groups here"
    legal = target.grouped_beside_integers if active else target.grouped_bits
    if bits not in legal:
        return channel, f"a scale for each channel: {bits}-bit groups do not run here"
    return Granularity("group", weight.input_axis, request.group_size), ""


def bias_sites(
    found: Sequence[Layer], weights: Sequence[Site], inputs: Mapping[str, int]
) -> list[Site]:
    """int32 biases of the layers whose weight and input are both quantized."""
    by_layer = {site.layer: site for site in weights}
    sites = []
    for layer in found:
        weight = by_layer.get(layer.name)
        if weight is None or layer.name not in inputs or not _has_own_bias(layer, weight):
            continue
        kind = weight.grid.granularity.kind
        granularity = Granularity("channel", 0) if kind == "channel" else Granularity()
        grid = Grid(BIAS_BITS, granularity=granularity)
        edge = (layer.name, 2)
        size = (layer.parameters - math.prod(weight.shape),)
        name = str(layer.bias)
        sites.append(Site(name, "bias", name, (edge,), layer.name, grid, size))
    return sites


def _has_own_bias(layer: Layer, weight: Site) -> bool:
    """A bias of this layer alone, one value for each scale (a grouped ConvTranspose has more)."""
    if layer.bias is None or layer.offset != layer.bias:
        return False
    if weight.grid.granularity.kind == "group" or not weight.grid.uniform:
        return False
    grid, size = weight.grid, layer.parameters - math.prod(weight.shape)
    return grid.granularity.kind != "channel" or size == weight.shape[grid.granularity.axis]
