"""What a network expects to see, without seeing data: mean and deviation of inner values.

Batch normalization prescribes both for the layers that took it in. From there they are followed:
through functions of one value, taken as functions of a normal variable; through sums, taken as
sums of independent ones; through pools that average, which keep the mean. Where the way is
lost, nothing is known.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from workbench.graph.build import Graph
from workbench.maths.normal import clipped_normal, mapped_normal

_SMOOTH = frozenset(
    {"Gelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "LeakyRelu", "Elu", "Softplus", "Mish"}
)
_AVERAGES = frozenset({"GlobalAveragePool", "AveragePool"})
_LAYOUT = frozenset({"Flatten", "Identity"})


@dataclass(frozen=True)
class Expected:
    """Mean and deviation of each channel, `(channels,)`; the channels are on axis 1.

    Attributes:
        deviation: None where only the mean is known.
    """

    mean: Tensor
    deviation: Tensor | None = None


@torch.no_grad()
def expectations(graph: Graph) -> dict[str, Expected]:
    """What is known of the values of a folded graph, under their names."""
    known: dict[fx.Node, Expected] = {}
    found: dict[str, Expected] = {}
    stated = {
        str(value.name): value.meta["batch_norm"]
        for node in graph.model.graph
        for value in node.outputs
        if "batch_norm" in value.meta
    }
    for node in graph.module.graph.nodes:
        name = str(node.meta.get("onnx_value"))
        here = Expected(*stated[name]) if name in stated else _behind(graph.module, node, known)
        if here is not None:
            known[node] = found[name] = here
    return found


def _behind(
    module: fx.GraphModule, node: fx.Node, known: dict[fx.Node, Expected]
) -> Expected | None:
    """Of what `node` gives, from what is known of what it reads."""
    sources = [known.get(source) for source in node.all_input_nodes if _varies(source)]
    if node.op != "call_function" or not sources or None in sources:
        return None
    given = [source for source in sources if source is not None]
    kind = str(node.meta.get("op_type"))
    if kind in ("Add", "Sum"):
        return _sum(given) if len(given) == len(node.args) else None
    if len(given) > 1:
        return None
    if kind in _AVERAGES:
        return replace(given[0], deviation=None)
    if kind in _LAYOUT:
        return given[0]
    return _function(kind, _call(module, node), given[0])


def _sum(given: list[Expected]) -> Expected | None:
    if len({len(part.mean) for part in given}) > 1:
        return None
    spreads = [part.deviation.square() for part in given if part.deviation is not None]
    whole = torch.stack(spreads).sum(0).sqrt() if len(spreads) == len(given) else None
    return Expected(torch.stack([part.mean for part in given]).sum(0), whole)


def _function(kind: str, call: Callable[[Tensor], Tensor], x: Expected) -> Expected | None:
    if x.deviation is None:
        return None
    if kind == "Relu":
        return Expected(*clipped_normal(x.mean, x.deviation, low=0.0))
    if kind == "Clip":
        ends = call(torch.tensor([[-3e38], [3e38]]))
        low, high = float(ends[0]), float(ends[1])
        return Expected(*clipped_normal(x.mean, x.deviation, low, high))
    return Expected(*mapped_normal(call, x.mean, x.deviation)) if kind in _SMOOTH else None


def _varies(node: fx.Node) -> bool:
    """It is no constant that the module holds."""
    return node.op != "get_attr"


def _call(module: fx.GraphModule, node: fx.Node) -> Callable[[Tensor], Tensor]:
    """The function of `node`, of the one argument that is no constant."""

    def call(x: Tensor) -> Tensor:
        def value(source: fx.Node) -> Any:
            held = source.op == "get_attr"
            return operator.attrgetter(str(source.target))(module) if held else x

        arguments = map_arg(node.args, value)
        return node.target(*arguments, **node.kwargs)  # type: ignore[operator, misc]

    return call
