"""What passes share: the record each leaves, and the surgery they do on the graph.

A pass is a function that changes a model in place and returns a `FoldRecord`. A value that survives
keeps the name under which its content was known before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from workbench.graph.tensors import add_initializer, constant_of, unique, value_names

SHOWN = 5  # names that a record lists


@dataclass(frozen=True)
class FoldRecord:
    """What one pass did.

    Attributes:
        name: what was done, in the past tense.
        count: to how many nodes or values.
        detail: the first few by name, and what was refused and why.
        measures: what the pass is for, as (before, after) under the measure's name.
        max_difference: largest relative difference of the outputs, before against after; None
            until it is measured (see `workbench.deploy.proof`).
    """

    name: str
    count: int
    detail: str
    measures: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    max_difference: float | None = None

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "measures": {k: list(v) for k, v in self.measures.items()}}


Pass = Callable[[ir.Model], FoldRecord]


def record(
    name: str,
    done: Sequence[str],
    note: str = "",
    measures: Mapping[str, tuple[float, float]] | None = None,
) -> FoldRecord:
    """A record that lists the first few of `done`, then `note`."""
    shown = ", ".join(done[:SHOWN]) + (" ..." if len(done) > SHOWN else "")
    return FoldRecord(name, len(done), "; ".join(filter(None, (shown, note))), measures or {})


def lonely(value: ir.Value) -> bool:
    """Read exactly once, and not an output of the graph."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def only_reader(value: ir.Value) -> tuple[ir.Node, int] | None:
    """The one node that reads `value`, with the input index; None where there are more or none.

    A reader in the body of an If, Loop or Scan does not count: it may run never, or many times.
    """
    if not lonely(value):
        return None
    use = next(iter(value.uses()))
    return (use.node, use.idx) if use.node.graph is value.graph else None


def average(values: Sequence[float]) -> float:
    """The mean of what a pass measured; 0 where it measured nothing."""
    return sum(values) / len(values) if values else 0.0


def wide(value: ir.Value | None) -> Tensor:
    """A copy of a constant in float64."""
    constant = constant_of(value)
    assert constant is not None
    return torch.from_numpy(constant.numpy().astype(np.float64))


def replace_by_constant(
    graph: ir.Graph, node: ir.Node, value: ir.Value, tensor: Tensor, name: str | None = None
) -> ir.Value:
    """Readers of `value` get an initializer instead, and its one-output node goes."""
    wanted = name or str(value.name)
    value.name = f"{wanted}\0old"
    constant = add_initializer(graph, wanted, tensor)
    value.replace_all_uses_with(constant)
    graph.remove(node, safe=True)
    return constant


def set_constant(graph: ir.Graph, node: ir.Node, index: int, tensor: Tensor, name: str) -> None:
    """Input `index` becomes a constant called `name`, or nearly so where others read the old."""
    old = node.inputs[index] if index < len(node.inputs) else None
    if old is not None and len(old.uses()) == 1:
        node.replace_input_with(index, None)
        del graph.initializers[str(old.name)]
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    value = add_initializer(graph, unique(name, value_names(graph)), tensor)
    node.replace_input_with(index, value)


def hand_over(graph: ir.Graph, kept: ir.Value, gone: ir.Value) -> None:
    """`kept` stands in for `gone`, under its name, and the node that made `gone` is removed."""
    name, gone.name = gone.name, f"{gone.name}\0old"
    kept.name = name
    gone.replace_all_uses_with(kept, replace_graph_outputs=True)
    node = gone.producer()
    assert node is not None
    graph.remove(node, safe=True)
