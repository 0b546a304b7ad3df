"""Cross-layer equalization (Nagel et al. 2019, arXiv:1906.04721, section 4.1).

A layer whose output channels have very different weight ranges loses its small channels on one
scale per tensor. For two layers joined by a positively homogeneous function f,

    W2 f(W1 x + b1)  =  (W2 S) f(S⁻¹ W1 x + S⁻¹ b1),      S = diag(s)

and with r1_i = max |W1_i:|, r2_i = max |W2_:i| the choice

    s_i = sqrt(r1_i / r2_i)

gives both layers the range sqrt(r1_i r2_i) on channel i. Pairs that share a layer (around a
depthwise convolution) take turns until no factor moves by more than `TOLERANCE`.

The limits of a Clip on the way become one for each channel, `clip(x / s, low / s, high / s)`,
written as Max and Min because the limits of an ONNX Clip are scalars. The function stays the same,
but a runtime may no longer fuse it into the layer; `relu6-to-relu` before this pass avoids that.
"""

from __future__ import annotations

import math
from collections import Counter

import onnx_ir as ir
import torch
from torch import Tensor

from workbench.graph.ops.dtypes import torch_dtype
from workbench.graph.passes.base import FoldRecord, average, hand_over, record
from workbench.graph.passes.channels import (
    Pair,
    clip_limits,
    clipped,
    layers_of,
    pairs,
    reasons,
    touched,
)
from workbench.graph.passes.linear import Linear
from workbench.graph.passes.registry import Measured, Transform, transformation
from workbench.graph.tensors import add_initializer, unique, value_names
from workbench.maths.grid import Grid, affine_range, fake_quantize
from workbench.maths.metrics import decibels

ROUNDS = 100
TOLERANCE = 1e-3  # of log s
#: a channel is scaled by no more than this: a dead one would blow up its bias and its activation
MOST = 64.0
_EIGHT_BITS = Grid(8)


@transformation(
    "equalize",
    title="Equal weight ranges across layers",
    citation="Nagel et al. 2019, arXiv:1906.04721",
    order=20,
    exact=True,
    signal="tensor range",
    data="none",
    cost="seconds",
    cells=("transform/tensor_error",),
    strategy="constraints",
    use="one scale per weight tensor, above all with depthwise convolutions",
)
class Equalize(Transform):
    """Takes turns between neighbouring layers until both use the same range of each channel."""

    def apply(self, model: ir.Model, measured: Measured) -> FoldRecord:
        return equalize(model)


def equalize(model: ir.Model) -> FoldRecord:
    """Equal weight ranges per channel across neighbouring layers; the function is unchanged."""
    refused: Counter[str] = Counter()
    found = list(pairs(layers_of(model.graph), clipped, refused))
    layers = touched(found)
    before = range_spread(layers), tensor_sqnr(layers)
    logs = _balance(found)
    after = range_spread(layers), tensor_sqnr(layers)
    for layer in layers:
        layer.write(model.graph)
    limits = 0
    for pair, log in zip(found, logs, strict=True):
        _scale_statistics(pair, log)
        limits += _scale_clips(model.graph, pair, log)
    note = f"{limits} clips with a limit per channel" if limits else ""
    names = ("weight range, tensor / channel", "8-bit per-tensor weights, SQNR dB")
    compared = zip(names, before, after, strict=True)
    measures = {name: (a, b) for name, a, b in compared} if found else {}
    told = "; ".join(filter(None, (note, reasons(refused))))
    return record("pairs equalized", [pair.name for pair in found], told, measures)


def factors(first: Linear, second_ranges: Tensor) -> Tensor:
    """s of each channel; 1 where a range is zero."""
    r1, r2 = first.output_ranges(), second_ranges
    alive = (r1 > 0) & (r2 > 0)
    ratio = torch.where(alive, r1, 1.0) / torch.where(alive, r2, 1.0)
    return ratio.sqrt()


def _balance(found: list[Pair]) -> list[Tensor]:
    """Rescale the working copies, pair after pair, until nothing moves; log s of each pair."""
    logs = [torch.zeros(pair.first.outputs, dtype=torch.float64) for pair in found]
    bound = math.log(MOST)
    for _ in range(ROUNDS):
        moved = 0.0
        for index, pair in enumerate(found):
            wanted = factors(pair.first, pair.route.gather(pair.second.input_ranges())).log()
            total = (logs[index] + wanted).clamp(-bound, bound)
            step = total - logs[index]
            logs[index] = total
            pair.first.scale_outputs((-step).exp())
            pair.second.scale_inputs(pair.route.spread(step.exp()))
            moved = max(moved, float(step.abs().max()))
        if moved < TOLERANCE:
            break
    return logs


def range_spread(layers: list[Linear]) -> float:
    """max |W| of a tensor over max |W| of its channels: geometric mean over channels and layers."""
    logs = []
    for layer in layers:
        ranges = layer.output_ranges()
        ranges = ranges[ranges > 0]
        if ranges.numel():
            logs.append(float((ranges.max() / ranges).log().mean()))
    return math.exp(average(logs))


def tensor_sqnr(layers: list[Linear]) -> float:
    """SQNR in dB of 8-bit weights on one scale: mean over channels, then over layers.

    Channel by channel, because a factor on a whole channel does not change it.
    """
    means = []
    for layer in layers:
        rows = layer.weight.flatten(0, 1).flatten(1)
        rows = rows[rows.any(1)]
        if not rows.numel():
            continue
        scale, zero = affine_range(rows.min(), rows.max(), _EIGHT_BITS)
        noise = (rows - fake_quantize(rows, scale, zero, _EIGHT_BITS)).square().sum(1)
        pairs_of_sums = zip(rows.square().sum(1).tolist(), noise.tolist(), strict=True)
        means.append(average([decibels(signal, error) for signal, error in pairs_of_sums]))
    return average(means)


def _scale_statistics(pair: Pair, log: Tensor) -> None:
    """The mean and deviation that training saw on the first layer's output are scaled too."""
    value = pair.first.output
    known = value.meta.get("batch_norm")
    if known is not None:
        shrink = (-log).exp().float()
        value.meta["batch_norm"] = tuple(part * shrink for part in known)


def _scale_clips(graph: ir.Graph, pair: Pair, log: Tensor) -> int:
    """Each Clip of the route with limits that are not 0 and infinity becomes Max and Min."""
    clips = 0
    for node, axis in zip(pair.route.nodes, pair.route.axes, strict=True):
        limits = clip_limits(node)
        source = node.inputs[0]
        if limits is None or source is None or limits in ((0.0, math.inf), (-math.inf, math.inf)):
            continue
        rank = len(source.shape) if source.shape is not None else axis + 1
        shrink = (-log).exp().reshape(-1, *[1] * (rank - 1 - axis))
        _limit_channels(graph, node, limits, shrink)
        clips += 1
    return clips


def _limit_channels(
    graph: ir.Graph, clip: ir.Node, limits: tuple[float, float], shrink: Tensor
) -> None:
    """`clip` becomes Relu or Max, then Min, with `limits * shrink`; the last bears its name."""
    value, result = clip.inputs[0], clip.outputs[0]
    assert value is not None
    dtype = torch.float32 if value.dtype is None else torch_dtype(int(value.dtype))
    taken = value_names(graph) | {str(node.name) for node in graph}
    for side, limit in zip(("Max", "Min"), limits, strict=True):
        if math.isinf(limit):
            continue
        inputs, kind = [value], "Relu" if (side, limit) == ("Max", 0.0) else side
        name = unique(f"{clip.name}.{kind.lower()}", taken)
        if kind != "Relu":
            bound = (limit * shrink).to(dtype)
            inputs.append(add_initializer(graph, unique(f"{name}.limit", taken), bound))
        made = ir.Node("", kind, inputs, num_outputs=1, name=name)
        graph.insert_before(clip, made)
        value = made.outputs[0]
        value.name, value.shape, value.type = name, result.shape, result.type
    last = value.producer()
    assert last is not None
    last.name = clip.name
    hand_over(graph, value, result)
