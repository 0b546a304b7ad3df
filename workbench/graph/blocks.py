"""Blocks: the parts of a network with one way in and one way out, as block reconstruction wants.

The vertices are the tensors that layers have a part in; an operator joins each tensor it reads to
each that it writes. A tensor `p` with several predecessors closes a block where its nearest
dominator `u` has `p` as nearest post-dominator: every path into the region comes through `u`, every
path out of it through `p`. Residual blocks, the halves of a transformer layer and
squeeze-and-excitation gates are such regions, one inside another. What follows a block without
weights and without a fork (the Relu behind a sum) belongs to it.

Tensors made without a layer (positions, masks, shapes, the input itself) are at hand everywhere, so
they are no paths: a mask that every attention block reads does not tie the blocks together.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import onnx_ir as ir

from workbench.graph.build import Graph
from workbench.graph.dominators import SOURCE, immediate_dominators, immediate_postdominators
from workbench.graph.sites import Layer, layers
from workbench.graph.tensors import unique

Kind = Literal["residual", "gate", "branch", "separable", "layer"]

_MERGES: dict[str, Kind] = {"Add": "residual", "Sum": "residual", "Mul": "gate"}
_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


@dataclass(frozen=True)
class Block:
    """Consecutive nodes between two cut tensors.

    Attributes:
        name: what its layers' names begin with, else (or where another block is called so) the
            tensor it ends in; unique.
        kind: "residual" (closed by an Add), "gate" (by a Mul), "branch" (by another operator),
            "separable" (depthwise and 1×1 convolutions in a chain), "layer" (a single one).
        inputs: the tensors it reads; the first is the one that cuts, the others are made without
            layers (masks, positions).
        output: the tensor it writes for the rest of the network.
        layers: names of its nodes with weights, in order.
        nodes: names of all its nodes, in order.
        level: 0 for a block of the whole network, 1 for one inside such a block, and so on.
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    output: str
    layers: tuple[str, ...]
    nodes: tuple[str, ...]
    level: int

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}


def blocks(graph: Graph) -> list[Block]:
    """The blocks of a network in its order, each before those inside it.

    The blocks of level 0 hold every layer exactly once, but for tables that are read at constant
    places.
    """
    flow = _Flow(graph)
    regions = _nested(sorted(flow.regions(), key=lambda region: (region.start, -region.end)))
    chained = flow.chain([region for region in regions if region.level == 0])
    taken: set[str] = set()
    ordered = sorted([*regions, *chained], key=lambda region: (region.start, region.level))
    return [flow.block(region, taken) for region in ordered]


def reads(node: ir.Node) -> Iterator[ir.Value]:
    """What a node computes from: its inputs that are no constants, those of its bodies included."""
    for value in node.inputs:
        if value is not None and not value.is_initializer():
            yield value
    for attribute in node.attributes.values():
        bodies = attribute.value if attribute.type == ir.AttributeType.GRAPHS else ()
        for body in (attribute.value,) if attribute.type == ir.AttributeType.GRAPH else bodies:
            inner = [*body.inputs, *(value for node in body for value in node.outputs)]
            for nested in body:
                yield from (value for value in reads(nested) if value not in inner)


@dataclass
class _Region:
    """Nodes by position: from `start` on, closed by `end`; `source` is the tensor that cuts."""

    nodes: tuple[int, ...]
    source: str
    output: ir.Value
    kind: Kind
    level: int = 0
    inside: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        self.inside = frozenset(self.nodes)

    @property
    def start(self) -> int:
        return self.nodes[0]

    @property
    def end(self) -> int:
        return self.nodes[-1]


def _nested(regions: Sequence[_Region]) -> list[_Region]:
    """Regions that lie properly inside one another or apart, with their levels."""
    kept: list[_Region] = []
    for region in sorted(regions, key=lambda region: -len(region.nodes)):
        around = [other for other in kept if region.inside & other.inside]
        if all(region.inside < other.inside for other in around):
            region.level = len(around)
            kept.append(region)
    return kept


class _Flow:
    """The tensors that layers have a part in, and how operators join them."""

    def __init__(self, graph: Graph) -> None:
        self.nodes = list(graph.model.graph)
        self.layers: dict[str, Layer] = {layer.name: layer for layer in layers(graph)}
        self.values: list[ir.Value] = []
        self.number: dict[ir.Value, int] = {}
        self.maker: list[int] = []
        self.before: list[list[int]] = []
        fed = set(graph.model.graph.inputs)
        for position, node in enumerate(self.nodes):
            if node.op_type not in ("Shape", "Size") and not fed.isdisjoint(reads(node)):
                fed.update(node.outputs)
                self._add(position, node, fed)
        made = {str(self.nodes[position].name) for position in self.maker}
        self.layers = {name: layer for name, layer in self.layers.items() if name in made}
        self.after: list[list[int]] = [[] for _ in self.values]
        for vertex, sources in enumerate(self.before):
            for source in sources:
                self.after[source].append(vertex)

    def regions(self) -> Iterator[_Region]:
        """Every region with a fork, a merge and a layer in it."""
        outputs = {v for v, value in enumerate(self.values) if value.is_graph_output()}
        above = immediate_dominators(self.before)
        below = immediate_postdominators(
            [[] if v in outputs else found for v, found in enumerate(self.after)]
        )
        for close, sources in enumerate(self.before):
            start = above[close]
            if len(sources) < 2 or start == SOURCE or below[start] != close:
                continue
            nodes = self._between(start, close)
            if any(self._is_layer(position) for position in nodes):
                last, tail = self._tail(close)
                yield _Region(
                    tuple(sorted({*nodes, *tail})),
                    str(self.values[start].name),
                    self.values[last],
                    self._kind(close),
                )

    def chain(self, regions: Sequence[_Region]) -> Iterator[_Region]:
        """The layers outside all regions, each with what follows it; separable ones together."""
        covered = frozenset[int]().union(*(region.inside for region in regions))
        singles = [p for p in range(len(self.nodes)) if self._is_layer(p) and p not in covered]
        for group in self._separable(singles):
            tails = [self._tail(self._vertex(p)) for p in group]
            nodes = {*group, *(position for _, tail in tails for position in tail)}
            source = self.layers[str(self.nodes[group[0]].name)].input
            kind: Kind = "separable" if len(group) > 1 else "layer"
            yield _Region(tuple(sorted(nodes)), source, self.values[tails[-1][0]], kind)

    def block(self, region: _Region, taken: set[str]) -> Block:
        """The region with names for everything."""
        nodes = [self.nodes[position] for position in region.nodes]
        names = [str(node.name) for node in nodes]
        found = tuple(name for name in names if name in self.layers)
        made = {value for node in nodes for value in node.outputs}
        read = (value for node in nodes for value in reads(node) if value not in made)
        name = _common(found)
        others = dict.fromkeys(str(v.name) for v in read if str(v.name) != region.source)
        return Block(
            name=unique(name if name and name not in taken else str(region.output.name), taken),
            kind=region.kind,
            inputs=(region.source, *others),
            output=str(region.output.name),
            layers=found,
            nodes=tuple(names),
            level=region.level,
        )

    def _add(self, position: int, node: ir.Node, fed: set[ir.Value]) -> None:
        sources = [self.number[value] for value in reads(node) if value in self.number]
        if not sources and not self._mixes(node, fed):
            return
        for value in node.outputs:
            if value.name:
                self.number[value] = len(self.values)
                self.values.append(value)
                self.maker.append(position)
                self.before.append(list(dict.fromkeys(sources)))

    def _mixes(self, node: ir.Node, fed: set[ir.Value]) -> bool:
        """A layer or an embedding: not the outer product of positions with frequencies."""
        if node.op_type == "Gather":
            table, indices = node.inputs[0], node.inputs[1]
            known = table is not None and table.is_initializer() and table.dtype in _FLOATS
            return known and indices in fed
        layer = self.layers.get(str(node.name))
        if layer is None:
            return False
        weight = layer.weights[0]
        sizes = weight.shape[weight.channel_axis], weight.shape[weight.input_axis]
        return node.op_type.startswith("Conv") or min(sizes) > 1

    def _vertex(self, position: int) -> int:
        """The first tensor that a node gives."""
        return next(self.number[v] for v in self.nodes[position].outputs if v in self.number)

    def _is_layer(self, position: int) -> bool:
        return str(self.nodes[position].name) in self.layers

    def _between(self, start: int, close: int) -> set[int]:
        """Nodes on the paths from one tensor to the other."""
        reached = {start}
        for vertex in range(start + 1, close + 1):
            if any(source in reached for source in self.before[vertex]):
                reached.add(vertex)
        needed = {close}
        for vertex in range(close, start, -1):
            if vertex in needed:
                needed.update(self.before[vertex])
        return {self.maker[vertex] for vertex in (reached & needed) - {start}}

    def _tail(self, vertex: int) -> tuple[int, list[int]]:
        """(the last tensor, nodes) that follow one behind another without weights or forks."""
        passed: list[int] = []
        while len(self.after[vertex]) == 1 and not self.values[vertex].is_graph_output():
            follower = self.after[vertex][0]
            position = self.maker[follower]
            if self._is_layer(position) or self.before[follower] != [vertex]:
                break
            passed.append(position)
            vertex = follower
        return vertex, passed

    def _kind(self, close: int) -> Kind:
        return _MERGES.get(self.nodes[self.maker[close]].op_type, "branch")

    def _separable(self, positions: Sequence[int]) -> list[list[int]]:
        """Layers one by one, but a depthwise convolution with the 1×1 ones around it."""
        groups: list[list[int]] = []
        for position in positions:
            group = groups[-1] if groups else []
            begins = len(group) == 1 and self._pointwise(group[-1]) and self._depthwise(position)
            ends = bool(group) and self._depthwise(group[-1]) and self._pointwise(position)
            if (begins or ends) and self._follows(group[-1], position):
                group.append(position)
            else:
                groups.append([position])
        return groups

    def _follows(self, first: int, second: int) -> bool:
        """The second layer reads what the first gives, with no fork and no layer between."""
        last, _ = self._tail(self._vertex(first))
        return self.after[last] == [self._vertex(second)]

    def _depthwise(self, position: int) -> bool:
        node, shape = self.nodes[position], self._shape(position)
        groups = node.attributes.get_int("group", 1)
        return node.op_type == "Conv" and groups > 1 and shape[1] == 1

    def _pointwise(self, position: int) -> bool:
        node, shape = self.nodes[position], self._shape(position)
        return node.op_type == "Conv" and math.prod(shape[2:]) == 1

    def _shape(self, position: int) -> tuple[int, ...]:
        return self.layers[str(self.nodes[position].name)].shape


def _common(names: Sequence[str]) -> str:
    """What all names begin with, in whole parts: `a.0` of `a.0.conv1` and `a.0.conv2`."""
    if len(names) < 2:
        return names[0] if names else ""
    parts = [re.split(r"(?=[./])", name) for name in names]
    shared = itertools.takewhile(lambda same: len(set(same)) == 1, zip(*parts, strict=False))
    return "".join(same[0] for same in shared).strip("./")
