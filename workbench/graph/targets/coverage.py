"""For every node: does it compute on integers or in float, with what bits, and why."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import onnx_ir as ir

from workbench.graph.build import Graph
from workbench.graph.corrections import WHY_FLOAT, corrects
from workbench.graph.sites import is_constant, layers, product_macs, value_shape
from workbench.graph.targets.activations import FLOATS
from workbench.graph.targets.base import Plan, Target
from workbench.graph.targets.meetings import Meetings
from workbench.graph.targets.nothing import float_name
from workbench.graph.targets.rules import Meeting

Arithmetic = Literal["integer", "float", "none"]


@dataclass(frozen=True)
class NodeCoverage:
    """One node.

    Attributes:
        node, op: its name and operator.
        arithmetic: "integer", "float", or "none" for nodes that compute shapes and indices only.
        why: what keeps it in float, what it is part of, or "".
        weight_bits, input_bits, output_bits: of what is quantized there; None where nothing is.
        group: the site whose scale the output shares, or None.
        macs: multiply-adds for one example; parameters: float values that it is the first to read.
        stored: how many of the latter are quantized.
        note: what the target changed about the weights that were asked for, or "".
    """

    node: str
    op: str
    arithmetic: Arithmetic
    why: str
    weight_bits: int | None
    input_bits: int | None
    output_bits: int | None
    group: str | None
    macs: int
    parameters: int
    stored: int
    note: str


@dataclass(frozen=True)
class Coverage:
    """The nodes of a graph on a target, and totals over them.

    Attributes:
        target: its name; rows: in the order of the graph, bodies of control flow at the end.
    """

    target: str
    rows: tuple[NodeCoverage, ...]

    @property
    def integer_macs(self) -> float:
        """Share of the multiply-adds that run on integers, 0 to 1."""
        return self._share_of_macs(row for row in self.rows if row.arithmetic == "integer")

    @property
    def quantized_macs(self) -> float:
        """Share of the multiply-adds with quantized weights or inputs, 0 to 1."""
        return self._share_of_macs(r for r in self.rows if r.weight_bits or r.input_bits)

    @property
    def stored_parameters(self) -> float:
        """Share of the parameters that are stored as integers, 0 to 1."""
        return sum(row.stored for row in self.rows) / (sum(r.parameters for r in self.rows) or 1)

    @property
    def integer_nodes(self) -> tuple[int, int]:
        """(nodes on integers, nodes that compute with floats or integers at all)."""
        counted = [row for row in self.rows if row.arithmetic != "none"]
        return sum(row.arithmetic == "integer" for row in counted), len(counted)

    def _share_of_macs(self, rows: Iterable[NodeCoverage]) -> float:
        return sum(row.macs for row in rows) / (sum(row.macs for row in self.rows) or 1)

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        integer, counted = self.integer_nodes
        return {
            "target": self.target,
            "integer_nodes": integer,
            "nodes": counted,
            "integer_macs": self.integer_macs,
            "quantized_macs": self.quantized_macs,
            "stored_parameters": self.stored_parameters,
            "rows": [asdict(row) for row in self.rows],
        }


def coverage(graph: Graph, plan: Plan, target: Target, store: str = "packed") -> Coverage:
    """What `plan` comes to, node by node.

    Args:
        plan: what `target.plan` gave for this graph.
        store: how weight codes will be held in the file, "packed" or "int8".
    """
    table = _Table(graph, plan, target, store)
    nodes = list(graph.model.graph)
    inner = [node for node in graph.model.graph.all_nodes() if node.graph is not graph.model.graph]
    rows = [table.row(node) for node in nodes] + [table.inner_row(node) for node in inner]
    return Coverage(target.name, tuple(rows))


class _Table:
    """Lookups from nodes to sites."""

    def __init__(self, graph: Graph, plan: Plan, target: Target, store: str) -> None:
        self._plan = plan
        self._target = target
        fused = plan.tensors.fused if plan.tensors else {}
        self._meetings = Meetings(plan.sites, fused, store)
        self._layers = {layer.name: layer for layer in layers(graph)}
        self._counted: set[str] = set()
        self._host_why: dict[str, str] = {}  # of nodes on integers, for the limiters behind them

    def row(self, node: ir.Node) -> NodeCoverage:
        """The row of a node of the graph itself."""
        name = str(node.name)
        met = self._meetings.at(node)
        weights = [site.grid.bits for site in met.weights]
        arithmetic, why = self._judge(node, met)
        parameters, stored = self._parameters(node)
        outputs = met.outputs[:1]
        layer = self._layers.get(name)
        return NodeCoverage(
            node=name,
            op=node.op_type,
            arithmetic=arithmetic,
            why=why,
            weight_bits=max(weights, default=None),
            input_bits=max((site.grid.bits for site in met.inputs), default=None),
            output_bits=outputs[0].grid.bits if outputs else None,
            group=outputs[0].shares if outputs else None,
            macs=product_macs(node) if layer is None else layer.macs,
            parameters=parameters,
            stored=stored,
            note="; ".join(dict.fromkeys(site.note for site in met.weights if site.note)),
        )

    def inner_row(self, node: ir.Node) -> NodeCoverage:
        """The row of a node inside an If, Loop or Scan."""
        count, _ = self._parameters(node)
        why = "inside a control-flow body"
        return NodeCoverage(
            str(node.name), node.op_type, "float", why, None, None, None, None, 0, count, 0, ""
        )

    def _judge(self, node: ir.Node, met: Meeting) -> tuple[Arithmetic, str]:
        """On integers or in float, and why."""
        name, tensors = str(node.name), self._plan.tensors
        if not _computes(node):
            other = next(filter(None, map(float_name, (*node.inputs, *node.outputs))), "")
            if other:
                return "float", f"{other} is not quantized; convert the model to float32"
            return "none", "computes shapes or indices"
        if tensors is None:
            return "float", self._why_stored(node, met)
        if name in tensors.fused:
            host = tensors.fused[name]
            kept = self._host_why.get(host, "")
            return ("float", f"stays with '{host}'") if kept else ("integer", f"part of '{host}'")
        if name not in tensors.active:
            return "float", tensors.why.get(name, "")
        why = self._target.blocked(node, tensors) or self._target.why_float(met)
        self._host_why[name] = why
        if why:
            return "float", why
        constant = not met.weights and any(_is_float_constant(value) for value in node.inputs)
        return "integer", "its constant is left to the compiler" if constant else ""

    def _why_stored(self, node: ir.Node, met: Meeting) -> str:
        if met.weights:
            return "its weights are stored small, its activations are float"
        if corrects(node):
            return WHY_FLOAT
        if node.name in self._layers and node.op_type not in self._target.weight_ops:
            return f"target '{self._target.name}' leaves {node.op_type} weights float"
        return "activations are float"

    def _parameters(self, node: ir.Node) -> tuple[int, int]:
        """(float values that this node is the first to read, how many of them are quantized)."""
        total = stored = 0
        for value in node.inputs:
            name = None if value is None else value.name
            if value is None or name is None or not value.is_initializer():
                continue
            if value.dtype != ir.DataType.FLOAT or name in self._counted:
                continue
            self._counted.add(name)
            size = math.prod(value_shape(value))
            total += size
            stored += size if name in self._meetings else 0
        return total, stored


def _is_float_constant(value: ir.Value | None) -> bool:
    return value is not None and value.is_initializer() and value.dtype == ir.DataType.FLOAT


def _computes(node: ir.Node) -> bool:
    """True where floats go in or come out that are not constant."""
    floats = [v for v in (*node.inputs, *node.outputs) if v is not None and not is_constant(v)]
    return any(value.dtype in FLOATS for value in floats)
