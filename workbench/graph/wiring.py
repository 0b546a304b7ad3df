"""How the nodes of an ONNX file hang together: scopes, functions, wires.

A scope is the graph, a subgraph or the body of a function. Each value is made once, each one that
is read exists there or further out, no node waits for itself, and functions neither call each other
in a ring nor unfold into more nodes than a graph may have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx

from workbench.foundation.errors import ModelError

MAX_NODES = 200_000


@dataclass(frozen=True)
class Scope:
    """A graph or the body of a function: its nodes, and the names of what goes in and out."""

    nodes: Sequence[onnx.NodeProto]
    inputs: Sequence[str]
    initializers: Sequence[str]
    outputs: Sequence[str]


def main(graph: onnx.GraphProto) -> Scope:
    """The scope of a graph."""
    inputs = [value.name for value in graph.input]
    initializers = [tensor.name for tensor in graph.initializer]
    return Scope(graph.node, inputs, initializers, [value.name for value in graph.output])


def body(function: onnx.FunctionProto) -> Scope:
    """The scope of a function."""
    return Scope(function.node, list(function.input), (), list(function.output))


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def nested(scopes: list[Scope]) -> Iterator[Scope]:
    """The scopes, and all subgraphs in their nodes."""
    waiting = [*scopes]
    while waiting:
        scope = waiting.pop()
        yield scope
        waiting.extend(main(graph) for node in scope.nodes for graph in _subgraphs(node))


def check_functions(proto: onnx.ModelProto, name: str) -> None:
    """Model functions call each other in no ring, and stay within limits when written out.

    Raises:
        ModelError: they do not.
    """
    bodies = {(f.domain, f.name): list(_all_nodes(body(f))) for f in proto.functions}
    if not bodies:
        return
    if len(bodies) < len(proto.functions):
        raise ModelError(f"'{name}' defines a function twice; export the model again")
    sizes: dict[tuple[str, str], int] = {}
    while len(sizes) < len(bodies):
        ready = [
            key for key in bodies.keys() - sizes if _calls(bodies[key], bodies) <= sizes.keys()
        ]
        if not ready:
            raise ModelError(
                f"the functions of '{name}' call each other in a ring; export the model again"
            )
        sizes.update({key: _written_out(bodies[key], sizes) for key in ready})
    total = _written_out(_all_nodes(main(proto.graph)), sizes)
    if total > MAX_NODES:
        raise ModelError(
            f"'{name}' has '{total}' nodes once its functions are written out, above the limit of "
            f"'{MAX_NODES}'; simplify the model"
        )


def _all_nodes(scope: Scope) -> Iterator[onnx.NodeProto]:
    return (node for inner in nested([scope]) for node in inner.nodes)


def _calls(
    nodes: Iterable[onnx.NodeProto], known: Iterable[tuple[str, str]]
) -> set[tuple[str, str]]:
    return {(node.domain, node.op_type) for node in nodes} & set(known)


def _written_out(nodes: Iterable[onnx.NodeProto], sizes: dict[tuple[str, str], int]) -> int:
    return sum(sizes.get((node.domain, node.op_type), 1) for node in nodes)


class _Names:
    """The values that can be read: those of a scope, and those of the scopes around it."""

    def __init__(self, outer: _Names | None = None, names: Iterable[str] = ()) -> None:
        self._outer = outer
        self._names = set(names)

    def __contains__(self, name: str) -> bool:
        return name in self._names or (self._outer is not None and name in self._outer)


def check_wiring(scope: Scope, name: str, outer: _Names | None = None) -> None:
    """Each name is made once, each read name exists, and no node waits for itself.

    Raises:
        ModelError: the name, and the node that makes or reads it.
    """
    _check_unique(scope.inputs, "inputs", name)
    _check_unique(scope.initializers, "initializers", name)
    given = {*scope.inputs, *scope.initializers}
    if "" in given:
        raise ModelError(f"'{name}' has an input or initializer without a name; name it")
    produced = _produced(scope, given, name)
    inside = _Names(outer, given | produced)
    for node in scope.nodes:
        _require(filter(None, node.input), inside, f"node '{node.name or node.op_type}'", name)
    _require(scope.outputs, inside, "the graph output", name)
    _check_order(scope, produced, name)
    for node in scope.nodes:
        for graph in _subgraphs(node):
            check_wiring(main(graph), name, inside)


def _check_unique(names: Sequence[str], kind: str, name: str) -> None:
    if len(set(names)) < len(names):
        twice = next(text for text in names if names.count(text) > 1)
        raise ModelError(f"two {kind} of '{name}' are called '{twice}'; give each its own name")


def _produced(scope: Scope, given: set[str], name: str) -> set[str]:
    produced: set[str] = set()
    for node in scope.nodes:
        for text in filter(None, node.output):
            if text in produced or text in given:
                raise ModelError(
                    f"two nodes of '{name}' make the value '{text}'; give each its own name"
                )
            produced.add(text)
    return produced


def _require(names: Iterable[str], known: _Names, reader: str, name: str) -> None:
    missing = next((text for text in names if text not in known), None)
    if missing is not None:
        raise ModelError(
            f"{reader} of '{name}' reads '{missing}', which nothing makes; the file is damaged or "
            "an initializer was left out, export it again"
        )


def _check_order(scope: Scope, produced: set[str], name: str) -> None:
    """Kahn's walk: nodes run when their inputs exist; whatever never runs is a cycle."""
    waiting: dict[str, list[int]] = {}
    missing: list[int] = []
    for index, node in enumerate(scope.nodes):
        needs = set(node.input) & produced
        missing.append(len(needs))
        for text in needs:
            waiting.setdefault(text, []).append(index)
    ready = [index for index, count in enumerate(missing) if not count]
    ran = 0
    while ready:
        node = scope.nodes[ready.pop()]
        ran += 1
        for text in node.output:
            for index in waiting.get(text, ()):
                missing[index] -= 1
                if not missing[index]:
                    ready.append(index)
    if ran < len(scope.nodes):
        stuck = next(n for n, count in zip(scope.nodes, missing, strict=True) if count)
        raise ModelError(
            f"node '{stuck.name or stuck.op_type}' of '{name}' waits for its own output; a graph "
            "must have no cycles, export it again"
        )
