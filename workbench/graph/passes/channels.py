"""Pairs of layers joined by functions that keep channels apart.

For a positively homogeneous `f`, `f(s x) = s f(x)` for `s > 0`: a factor on an output channel of
the first layer can be taken out again on the input channel of the second.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from workbench.graph.passes.linear import Linear, linear
from workbench.graph.passes.route import Route, Through, follow, reduced_axes
from workbench.graph.tensors import constant_of

_ANYWHERE = frozenset({"Relu", "LeakyRelu", "PRelu", "Identity"})
_SPATIAL = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})
_REDUCTIONS = frozenset({"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"})


@dataclass(frozen=True)
class Pair:
    """Two layers and the way from the first to the second."""

    first: Linear
    second: Linear
    route: Route

    @property
    def name(self) -> str:
        """For records."""
        return f"{self.first.node.name} → {self.second.node.name}"


def homogeneous(node: ir.Node, axis: int) -> bool:
    """`f(s x) = s f(x)` for positive `s` on each channel."""
    if node.domain or (len(node.outputs) > 1 and any(v.uses() for v in node.outputs[1:])):
        return False
    if node.op_type in _ANYWHERE:
        return True
    if node.op_type in _SPATIAL:
        return axis == 1
    if node.op_type in _REDUCTIONS:
        axes = reduced_axes(node)
        return axes is not None and axis not in axes
    return clip_limits(node) == (0.0, math.inf)


def clipped(node: ir.Node, axis: int) -> bool:
    """Homogeneous, or so once the limits of a Clip are one for each channel."""
    limits = clip_limits(node)
    return homogeneous(node, axis) or (limits is not None and limits[0] <= 0 <= limits[1])


def clip_limits(node: ir.Node) -> tuple[float, float] | None:
    """(low, high) of a Clip with known limits."""
    if node.op_type != "Clip" or node.domain:
        return None
    ends = []
    for index, (name, absent) in enumerate((("min", -math.inf), ("max", math.inf)), start=1):
        value = node.inputs[index] if index < len(node.inputs) else None
        constant = constant_of(value)
        if value is not None and (constant is None or constant.size != 1):
            return None
        given = node.attributes.get_float(name, absent)
        ends.append(given if constant is None else float(constant.numpy().reshape(-1)[0]))
    return ends[0], ends[1]


def layers_of(graph: ir.Graph) -> dict[ir.Node, Linear]:
    """Every layer of the main graph, as a working copy, in order."""
    found = ((node, linear(node)) for node in graph)
    return {node: layer for node, layer in found if layer is not None}


def pairs(layers: dict[ir.Node, Linear], through: Through, refused: Counter[str]) -> Iterator[Pair]:
    """The pairs among `layers`; the reasons why others are none are counted in `refused`."""
    for first in layers.values():
        axis = first.output_axis
        route = None if axis is None else follow(first.output, axis, first.outputs, through)
        if route is None:
            refused["result read more than once, or an output"] += 1
            continue
        second = layers.get(route.reader)
        if second is None:
            refused[f"{route.reader.op_type} behind it"] += 1
        elif second.data is not route.reader.inputs[route.index]:
            refused["read as a weight"] += 1
        elif not _fits(first, second, route):
            refused["channels mixed on the way"] += 1
        elif not (first.owns_weight and second.owns_weight):
            refused["weight shared"] += 1
        else:
            yield Pair(first, second, route)


def _fits(first: Linear, second: Linear, route: Route) -> bool:
    inputs = second.shape[0] * second.shape[2]
    return second.input_axis == route.axis and inputs == first.outputs * route.repeat


def reasons(refused: Counter[str]) -> str:
    """`3 left: Add behind it (2), weight shared (1)`."""
    listed = ", ".join(f"{why} ({count})" for why, count in refused.most_common())
    return f"{refused.total()} left: {listed}" if refused else ""


def touched(found: Iterable[Pair]) -> list[Linear]:
    """Each layer of the pairs once, in order."""
    return list(dict.fromkeys(layer for pair in found for layer in (pair.first, pair.second)))
