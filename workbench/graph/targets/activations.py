"""Which activation tensors of a graph are quantized: one pass in the order of the graph.

An operator that *starts* quantizes what it reads. One that *writes* gives integers: its output,
seen behind a Relu or Clip that alone reads it, is quantized for all of its readers. One that
*follows* computes on integers where all that it reads was written so. Tensors on both sides of an
operator that *shares* become a group with one scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from workbench.graph.build import Graph
from workbench.graph.corrections import WHY_FLOAT, corrects
from workbench.graph.sites import (
    PRODUCTS,
    WEIGHT_INPUTS,
    Layer,
    Site,
    is_constant,
    value_shape,
)
from workbench.graph.targets.requests import ActivationGrid
from workbench.graph.targets.rules import (
    CARRYING,
    UNMASKING,
    Rule,
    follow_limiters,
    has_body,
    is_mask,
)
from workbench.graph.targets.widths import Widths
from workbench.maths.grid import Grid

FLOATS = (ir.DataType.FLOAT, None)
#: they meet integers only with constant weights; a MatMul or Gather does without
NEED_WEIGHTS = WEIGHT_INPUTS.keys() - PRODUCTS - {"Gather"}


@dataclass
class Tensors:
    """What was found out about a graph's activations.

    Attributes:
        edges: tensor -> its readers that see it quantized, as (node, input index).
        values: tensor -> the ONNX value.
        written: tensors that all of their readers see quantized.
        active: nodes that read integers, or write them.
        why: node -> why it stays float, or what keeps its output float.
        fused: Relu and Clip nodes -> the node that they belong to.
        layers: names of the layers.
    """

    edges: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    values: dict[str, ir.Value] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    why: dict[str, str] = field(default_factory=dict)
    fused: dict[str, str] = field(default_factory=dict)
    layers: frozenset[str] = frozenset()
    _root: dict[str, str] = field(default_factory=dict)

    def read(self, node: str, index: int, value: ir.Value) -> None:
        """`node` sees `value` quantized."""
        readers = self.edges.setdefault(str(value.name), [])
        self.values[str(value.name)] = value
        if (node, index) not in readers:
            readers.append((node, index))

    def join(self, names: Sequence[str]) -> None:
        """These tensors share a scale from now on."""
        roots = [self.root(name) for name in names]
        for root in roots[1:]:
            self._root[root] = roots[0]

    def root(self, name: str) -> str:
        """One tensor that stands for the whole group of `name`."""
        while self._root.get(name, name) != name:
            name = self._root[name]
        return name


class Planner:
    """Goes through a graph once, rule by rule.

    Args:
        rule: gives the rule of a node, None where its operator has no integer form.
        runtime: how messages call what runs the file.
        constants: operators run on integers beside a constant operand too.
    """

    def __init__(
        self,
        graph: Graph,
        found: Sequence[Layer],
        widths: Widths,
        rules: Mapping[str, Rule | None],
        runtime: str,
        constants: bool,
    ) -> None:
        self._nodes = list(graph.model.graph)
        self._main = graph.model.graph
        self._layers = {layer.name: layer for layer in found}
        self._widths = widths
        self._rules = rules
        self._runtime = runtime
        self._constants = constants
        self._masked: set[str] = set()
        self.tensors = Tensors(layers=frozenset(self._layers))

    def run(self) -> Tensors:
        """Forward, in the order of the graph, then backward for operators that pass codes on."""
        for node in self._nodes:
            self._visit(node)
        for node in reversed(self._nodes):
            self._spread_back(node)
        return self.tensors

    def _visit(self, node: ir.Node) -> None:
        name, rule = str(node.name), self._rules[str(node.name)]
        if name in self.tensors.fused:
            return
        reason = self._mask(node) or self._refusal(node, rule)
        if reason or rule is None:
            self.tensors.why[name] = reason
            return
        blocked = self._blocked_output(node, rule) if rule.writes else ""
        if blocked:
            self.tensors.why[name] = blocked
            if not rule.starts:
                return
        self._accept(node, rule)
        if rule.writes and not blocked:
            self._write(node, rule)

    def _mask(self, node: ir.Node) -> str:
        """Why the node is left alone for a mask's sake, or ""; masks are followed to a Softmax."""
        reaches = node.op_type in CARRYING | UNMASKING
        carried = reaches and any(v is not None and v.name in self._masked for v in node.inputs)
        if not carried and not is_mask(node):
            return ""
        if node.op_type not in UNMASKING:
            self._masked.update(str(value.name) for value in node.outputs)
        return "a mask is among its values, and no grid holds both"

    def _refusal(self, node: ir.Node, rule: Rule | None) -> str:
        """Why the node's inputs stay float, or ""."""
        name = str(node.name)
        if rule is None:
            return f"no integer kernel for {node.op_type} in {self._runtime}"
        if self._is_off(name):
            return self._switched(name)
        if name not in self._layers and (corrects(node) or node.op_type in NEED_WEIGHTS):
            return WHY_FLOAT if corrects(node) else "its weights are not constant"
        if name in self._layers and not self._widths.weights[name]:
            return self._switched(name)
        pairs = list(self._pairs(node, rule))
        if not pairs and name not in self._layers:
            return "no activation reaches it in float"
        if not self._constants and self._meets_constant(node, rule):
            return "reads a constant"
        for _, value in pairs:
            reason = self._tensor_refusal(str(value.name), rule)
            if reason:
                return reason
        return rule.unless(node)

    def _tensor_refusal(self, tensor: str, rule: Rule) -> str:
        if self._widths.tensors.get(tensor) == 0:
            return f"{self._switched(tensor)} for '{tensor}'"
        if not rule.starts and tensor not in self.tensors.written:
            return f"its input '{tensor}' stays float"
        return ""

    def _is_off(self, node: str) -> bool:
        return not self._widths.activations.get(node, 0)

    def _switched(self, name: str) -> str:
        pattern = self._widths.overrides.get(name)
        return f"switched off by override '{pattern}'" if pattern else "its activations stay float"

    def _pairs(self, node: ir.Node, rule: Rule) -> Iterator[tuple[int, ir.Value]]:
        """(index, value) of the float activations that the node reads."""
        stored = self._weight_indices(node)
        for index, value in enumerate(node.inputs):
            wanted = rule.inputs is None or index in rule.inputs
            if not wanted or index in stored or value is None or is_constant(value):
                continue
            if value.dtype in FLOATS and not (rule.skips_made and self._is_made(value)):
                yield index, value

    def _weight_indices(self, node: ir.Node) -> frozenset[int]:
        layer = self._layers.get(str(node.name))
        return layer.weight_indices if layer else frozenset()

    def _is_made(self, value: ir.Value) -> bool:
        producer = value.producer()
        return producer is not None and producer.name in self._layers

    def _meets_constant(self, node: ir.Node, rule: Rule) -> bool:
        stored = self._weight_indices(node)
        return any(
            value is not None and is_constant(value) and index not in stored
            for index, value in enumerate(node.inputs)
            if rule.inputs is None or index in rule.inputs
        )

    def _accept(self, node: ir.Node, rule: Rule) -> None:
        name = str(node.name)
        self.tensors.active.add(name)
        for index, value in self._pairs(node, rule):
            self.tensors.read(name, index, value)

    def _ends(self, node: ir.Node, rule: Rule) -> list[tuple[ir.Value, tuple[ir.Node, ...]]]:
        """The float outputs that someone reads, each behind its limiters."""
        outputs = [value for value in node.outputs if value.name and value.dtype in FLOATS]
        used = [value for value in outputs if value.is_graph_output() or list(value.uses())]
        if rule.shares:
            return [(value, ()) for value in used]
        ends = []
        for value in used:
            end, limiters = follow_limiters(value)
            stopped = any(self._is_off(str(limiter.name)) for limiter in limiters)
            ends.append((value, ()) if stopped else (end, limiters))
        return ends

    def _blocked_output(self, node: ir.Node, rule: Rule) -> str:
        """What keeps the output float, or ""."""
        for value, _ in self._ends(node, rule):
            if value.is_graph_output():
                return "its output leaves the graph in float"
            if self._widths.tensors.get(str(value.name)) == 0:
                return f"{self._switched(str(value.name))} for '{value.name}'"
            for use in value.uses():
                if use.node.graph is not self._main or has_body(use.node):
                    return "its output is read inside a control-flow body"
                if self._is_off(str(use.node.name)):
                    return f"'{use.node.name}' reads its output in float"
        return ""

    def _write(self, node: ir.Node, rule: Rule) -> None:
        ends = self._ends(node, rule)
        for value, limiters in ends:
            self.tensors.written.add(str(value.name))
            self.tensors.fused.update({str(n.name): str(node.name) for n in limiters})
            for use in value.uses():
                self.tensors.read(str(use.node.name), use.idx, value)
        if rule.shares:
            read = [str(value.name) for _, value in self._pairs(node, rule)]
            self.tensors.join([*read, *(str(value.name) for value, _ in ends)])

    def _spread_back(self, node: ir.Node) -> None:
        """Codes read behind an operator that passes them on are made in front of it already."""
        name, rule = str(node.name), self._rules[str(node.name)]
        if rule is None or not rule.shares or rule.writes or name in self.tensors.active:
            return
        ends = [str(value.name) for value, _ in self._ends(node, rule)]
        off = self._is_off(name) or rule.unless(node) or self._meets_constant(node, rule)
        if off or not ends or not all(end in self.tensors.edges for end in ends):
            return
        self.tensors.why.pop(name, None)
        self._accept(node, rule)
        self.tensors.join([*(str(v.name) for _, v in self._pairs(node, rule)), *ends])


def activation_sites(
    tensors: Tensors, request: ActivationGrid, widths: Widths, order: Mapping[str, int]
) -> list[Site]:
    """One site for each quantized tensor; in a group the first in the order of the graph leads.

    Args:
        order: position of each node in the graph.
    """
    symmetric = bool(request.symmetric)
    groups: dict[str, list[str]] = {}
    for name in sorted(tensors.edges, key=lambda name: _produced(tensors.values[name], order)):
        groups.setdefault(tensors.root(name), []).append(name)
    found = []
    for members in groups.values():
        bits = max(_width(tensors, widths, request, name) for name in members)
        grid = Grid(bits, symmetric, symmetric)
        for name in members:
            shares = None if name == members[0] else members[0]
            found.append(_site(tensors, name, grid, shares, order))
    return found


def _site(
    tensors: Tensors, name: str, grid: Grid, shares: str | None, order: Mapping[str, int]
) -> Site:
    readers = sorted(tensors.edges[name], key=lambda edge: (order[edge[0]], edge[1]))
    layer = next((n for n, _ in readers if n in tensors.layers), None)
    shape = value_shape(tensors.values[name])
    return Site(name, "activation", name, tuple(readers), layer, grid, shape, shares)


def _width(tensors: Tensors, widths: Widths, request: ActivationGrid, name: str) -> int:
    """The most bits that a reader on integers asks for."""
    if name in widths.tensors:
        return widths.tensors[name]
    readers = [node for node, _ in tensors.edges[name] if node in tensors.active]
    return max((widths.activations[node] for node in readers), default=request.bits)


def _produced(value: ir.Value, order: Mapping[str, int]) -> int:
    producer = value.producer()
    return -1 if producer is None else order[str(producer.name)]
