"""Units of reconstruction: parts of the network that learn in one piece, and how they are run.

A unit is a set of ONNX nodes: a layer with its activation function, a block with one way in and one
way out, several blocks, or the whole network. Nodes of no unit are computed between units.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from workbench.graph.blocks import blocks
from workbench.graph.build import Graph
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import layers

#: functions of one tensor that a layer's output may pass through before anything else sees it
ACTIVATIONS = frozenset({"Relu", "Clip", "Gelu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu"})

Place = Callable[[fx.Node, Tensor], Tensor]


@dataclass(frozen=True)
class Unit:
    """What is reconstructed in one piece.

    Attributes:
        name: for people.
        nodes: names of its ONNX nodes.
        layers: names of those among them that have weights, in order.
    """

    name: str
    nodes: frozenset[str]
    layers: tuple[str, ...]


def units(
    model: QuantizedGraph, scope: str, count: int = 1, merge: str = "consecutive"
) -> list[Unit]:
    """The units of a network, in its order; those without a quantized weight are left out.

    Args:
        model: its sites say which layers are quantized.
        scope: "layer", "block", "blocks" or "network".
        count: for "blocks", how many follow one another in a unit, or how many pairs are merged.
        merge: "consecutive" groups neighbours in turn; "capacity" merges the pairs of neighbours
            whose capacities differ most (MRECG, Ma et al. 2023, arXiv:2303.11906).
    """
    graph = model.graph
    if scope == "network":
        nodes = frozenset(str(node.name) for node in graph.model.graph)
        found = [Unit("network", nodes, tuple(layer.name for layer in layers(graph)))]
    elif scope == "layer":
        found = _layer_units(graph)
    else:
        found = [
            Unit(block.name, frozenset(block.nodes), block.layers)
            for block in blocks(graph)
            if block.level == 0
        ]
    if scope == "blocks":
        found = _merged(found, count, graph, merge)
    held = {site.layer for site in model.of_kind("weight")}
    return [unit for unit in found if held & set(unit.layers)]


def _layer_units(graph: Graph) -> list[Unit]:
    followers = {}
    for node in graph.model.graph:
        uses = list(node.outputs[0].uses()) if len(node.outputs) == 1 else []
        if len(uses) == 1 and uses[0].node.op_type in ACTIVATIONS:
            followers[str(node.name)] = str(uses[0].node.name)
    found = []
    for layer in layers(graph):
        follower = followers.get(layer.name)
        nodes = {layer.name} if follower is None else {layer.name, follower}
        found.append(Unit(layer.name, frozenset(nodes), (layer.name,)))
    return found


def _merged(found: list[Unit], count: int, graph: Graph, merge: str) -> list[Unit]:
    if merge == "consecutive":
        groups = [found[i : i + count] for i in range(0, len(found), count)]
    else:
        pairs = _unlike_pairs(found, count, graph)
        groups = [[u] for u in found if not any(u in pair for pair in pairs)] + pairs
    joined = [_join(group) for group in groups]
    return sorted(joined, key=lambda unit: [u.layers[:1] for u in found].index(unit.layers[:1]))


def _unlike_pairs(found: list[Unit], count: int, graph: Graph) -> list[list[Unit]]:
    """Up to `count` disjoint pairs of neighbours, those of most unlike capacity first."""
    capacity = _capacities(found, graph)
    ranked = sorted(pairwise(found), key=lambda p: -abs(capacity[p[0].name] - capacity[p[1].name]))
    chosen: list[list[Unit]] = []
    for pair in ranked:
        if len(chosen) < count and not any(unit in taken for taken in chosen for unit in pair):
            chosen.append(list(pair))
    return chosen


def _capacities(found: list[Unit], graph: Graph) -> dict[str, float]:
    """Capacity of each unit, log of its number of weights: what needs no data in MRECG."""
    sizes = {layer.name: sum(math.prod(w.shape) for w in layer.weights) for layer in layers(graph)}
    return {unit.name: math.log(max(1, sum(sizes[n] for n in unit.layers))) for unit in found}


def _join(group: Sequence[Unit]) -> Unit:
    nodes = frozenset[str]().union(*(unit.nodes for unit in group))
    name = group[0].name if len(group) == 1 else f"{group[0].name} … {group[-1].name}"
    return Unit(name, nodes, tuple(name for unit in group for name in unit.layers))


def grouped(
    nodes: Sequence[fx.Node], parts: Sequence[Unit]
) -> Iterator[tuple[Unit | None, list[fx.Node]]]:
    """All fx nodes in an order in which each unit comes in one piece, other nodes one by one.

    What lies between two nodes of a unit belongs to it. A quantizer of an activation goes with its
    first reader.
    """
    owner = _owners(nodes, parts)
    members: dict[Any, list[fx.Node]] = {}
    for node in nodes:
        members.setdefault(owner.get(node, node), []).append(node)
    key = {node: owner.get(node, node) for node in nodes}
    sources = {
        group: {key[s] for n in inside for s in n.all_input_nodes} - {group}
        for group, inside in members.items()
    }
    for group in _in_order(sources):
        yield (group if isinstance(group, Unit) else None), members[group]


def _owners(nodes: Sequence[fx.Node], parts: Sequence[Unit]) -> dict[fx.Node, Unit]:
    unit_of = {name: unit for unit in parts for name in unit.nodes}
    owner: dict[fx.Node, Unit] = {}
    for node in nodes:
        name = str(node.meta.get("onnx_node"))
        if node.op == "call_function" and name in unit_of:
            owner[node] = unit_of[name]
    position = {node: index for index, node in enumerate(nodes)}
    for node in nodes:
        if node.op == "call_module" and node.users:
            first = min(node.users, key=lambda user: position[user])
            if first in owner:
                owner[node] = owner[first]
    for unit in parts:
        for node in _between({n for n, held in owner.items() if held is unit}, nodes):
            owner.setdefault(node, unit)
    return owner


def _between(inside: Collection[fx.Node], nodes: Sequence[fx.Node]) -> Iterator[fx.Node]:
    """Nodes on a path from one node of a set to another."""
    after = set(inside)
    for node in nodes:
        if any(source in after for source in node.all_input_nodes):
            after.add(node)
    before = set(inside)
    for node in reversed(nodes):
        if any(user in before for user in node.users):
            before.add(node)
    return (node for node in nodes if node in after & before and node not in inside)


def _in_order(sources: Mapping[Any, set[Any]]) -> Iterator[Any]:
    """Groups after those they read from, otherwise in the order given (Kahn 1962)."""
    place = {group: index for index, group in enumerate(sources)}
    waiting = {group: len(found) for group, found in sources.items()}
    readers: dict[Any, list[Any]] = {group: [] for group in sources}
    for group, found in sources.items():
        for source in found:
            readers[source].append(group)
    ready = [(place[group], id(group), group) for group, left in waiting.items() if not left]
    heapq.heapify(ready)
    while ready:
        group = heapq.heappop(ready)[-1]
        yield group
        for reader in readers[group]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, (place[reader], id(reader), reader))


class Program:
    """Some nodes of an fx graph as one differentiable function of the tensors that enter them.

    Args:
        nodes: in the order of the graph.
        module: holds the attributes and the quantizers.
        live: nodes outside whose values will be given.
        moving: attributes that learn; all others are read once, without gradient.
        source: where the value of an attribute that learns comes from; the module by default.
    """

    def __init__(
        self,
        nodes: Sequence[fx.Node],
        module: fx.GraphModule,
        live: Collection[fx.Node],
        moving: Collection[str] = (),
        source: Callable[[str], Tensor] | None = None,
    ) -> None:
        self._module = module
        self._source = source
        constants = _ancestors(nodes, {*nodes, *live})
        read = (source for node in [*constants, *nodes] for source in node.all_input_nodes)
        self.inputs = tuple(dict.fromkeys(source for source in read if source in live))
        self._fixed: dict[fx.Node, Any] = {}
        self._nodes: list[fx.Node] = []
        for node in [*constants, *nodes]:
            if self._is_fixed(node, moving):
                with torch.no_grad():
                    value = self._evaluate(node, self._fixed, _untouched)
                self._fixed[node] = value.detach() if isinstance(value, Tensor) else value
            else:
                self._nodes.append(node)

    def run(
        self,
        values: Mapping[fx.Node, Any],
        place: Place,
        wanted: Iterable[fx.Node],
    ) -> tuple[Any, ...]:
        """Values of the wanted nodes.

        Args:
            values: of `inputs`.
            place: what a quantizer's node gives for its input; the bias quantizers included.
            wanted: nodes among those of the program, or its inputs; what comes after the last of
                them is not computed.
        """
        wanted = tuple(wanted)
        known = {**self._fixed, **values}
        for node in self._nodes:
            if all(node in known for node in wanted):
                break
            known[node] = self._evaluate(node, known, place)
        return tuple(known[node] for node in wanted)

    def _is_fixed(self, node: fx.Node, moving: Collection[str]) -> bool:
        if node.op == "get_attr":
            return str(node.target) not in moving
        if node.op == "call_module":
            return False
        return all(source in self._fixed for source in node.all_input_nodes)

    def _evaluate(self, node: fx.Node, known: Mapping[fx.Node, Any], place: Place) -> Any:
        if node.op == "get_attr":
            path = str(node.target)
            return fetch(self._module, path) if self._source is None else self._source(path)
        arguments = map_arg(node.args, known.__getitem__)
        if node.op == "call_module":
            return place(node, arguments[0])  # type: ignore[index]
        keywords = map_arg(dict(node.kwargs), known.__getitem__)
        return node.target(*arguments, **keywords)  # type: ignore[operator, misc]


def fetch(module: torch.nn.Module, path: str) -> Any:
    """The attribute at a dotted path."""
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name)


def _untouched(node: fx.Node, x: Tensor) -> Tensor:  # noqa: ARG001
    return x


def _ancestors(nodes: Sequence[fx.Node], stop: Collection[fx.Node]) -> list[fx.Node]:
    """What `nodes` depend on, back to `stop`, in the order of the graph."""
    found: set[fx.Node] = set()
    waiting = [source for node in nodes for source in node.all_input_nodes]
    while waiting:
        node = waiting.pop()
        if node not in found and node not in stop:
            found.add(node)
            waiting.extend(node.all_input_nodes)
    return [node for node in nodes[0].graph.nodes if node in found] if found else []
