"""High biases into the next layer (Nagel et al. 2019, arXiv:1906.04721, section 4.1.3).

Equalization can leave large biases, and then one scale per tensor is spent on an offset. Where a
Relu's input on channel i stays above `c_i`, `relu(y) = relu(y - c) + c`, so

    b1 ← b1 - c,      b2 ← b2 + W2 c,      c = max(0, beta - 3 gamma)

with the mean `beta` and the deviation `gamma` that batch normalization prescribed for the channel.
For a normal distribution 99.87 % of the inputs lie above `c`; for the others the result differs.
Layers that pad with zeros are left alone: their borders would not see `c`.
"""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir
import torch
from torch import Tensor

from workbench.graph.passes.base import FoldRecord, average, record
from workbench.graph.passes.channels import Pair, clip_limits, layers_of, pairs, reasons
from workbench.graph.passes.registry import Measured, Transform, transformation
from workbench.graph.passes.route import reduced_axes

DEVIATIONS = 3.0


@transformation(
    "absorb-bias",
    title="High biases into the next layer",
    citation="Nagel et al. 2019, arXiv:1906.04721",
    order=30,
    exact=False,
    signal="batch-norm statistics",
    data="none",
    cost="seconds",
    cells=("transform/prior",),
    strategy="constraints",
    use="after equalize, with one scale per activation tensor",
)
class AbsorbBias(Transform):
    """Moves what a Relu never cuts of each bias into the next layer's bias."""

    def apply(self, model: ir.Model, measured: Measured) -> FoldRecord:
        return absorb_bias(model)


def absorb_bias(model: ir.Model) -> FoldRecord:
    """Move the part of each bias that a Relu never cuts into the next layer's bias."""
    refused: Counter[str] = Counter()
    absorbed: list[Pair] = []
    before: list[float] = []
    for pair in pairs(layers_of(model.graph), _keeps_offsets, refused):
        excess = _excess(pair, refused)
        if excess is None:
            continue
        before.append(float(pair.first.bias.abs().max()))
        pair.first.bias = pair.first.bias - excess
        pair.second.bias = pair.second.bias + pair.second.response(pair.route.spread(excess))
        mean, deviation = pair.first.output.meta["batch_norm"]
        pair.first.output.meta["batch_norm"] = (mean - excess.to(mean.dtype), deviation)
        absorbed.append(pair)
    after = [float(pair.first.bias.abs().max()) for pair in absorbed]
    for layer in dict.fromkeys(layer for pair in absorbed for layer in (pair.first, pair.second)):
        layer.write(model.graph)
    measures = (
        {"largest bias, mean over layers": (average(before), average(after))} if absorbed else {}
    )
    names = [pair.name for pair in absorbed]
    return record("biases absorbed", names, reasons(refused), measures)


def _excess(pair: Pair, refused: Counter[str]) -> Tensor | None:
    """c of each channel, or None where nothing can be moved."""
    known = pair.first.output.meta.get("batch_norm")
    if known is None:
        refused["no batch norm before it"] += 1
        return None
    if pair.second.pads_with_zeros:
        refused["padding behind it"] += 1
        return None
    mean, deviation = (part.double() for part in known)
    excess = torch.clamp(mean - DEVIATIONS * deviation, min=0.0)
    if not bool(excess.any()):
        refused["no bias high enough"] += 1
        return None
    return excess


def _keeps_offsets(node: ir.Node, axis: int) -> bool:
    """`f(y) = f(y - c) + c` where `y >= c >= 0`."""
    if node.domain:
        return False
    if node.op_type in ("Relu", "LeakyRelu", "Identity"):
        return True
    if node.op_type == "GlobalAveragePool":
        return axis == 1
    if node.op_type == "ReduceMean":
        axes = reduced_axes(node)
        return axes is not None and axis not in axes
    return clip_limits(node) == (0.0, float("inf"))
