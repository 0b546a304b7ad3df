"""What the pattern of an override names: nodes, or tensors."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NoReturn

import onnx_ir as ir

from workbench.foundation.errors import TargetError
from workbench.graph.build import Graph
from workbench.graph.sites import Layer

SHOWN = 4


@dataclass(frozen=True)
class Selection:
    """Names that a pattern stands for: of nodes, or of tensors where `tensors` says so."""

    names: tuple[str, ...]
    tensors: bool = False


def select(graph: Graph, found: Sequence[Layer], pattern: str) -> Selection:
    """The nodes or tensors that `pattern` names; see `Override` for what it may say.

    Args:
        found: the layers of the target, for `layer:first` and for the error's examples.

    Raises:
        TargetError: it names nothing.
    """
    nodes = {str(node.name): node for node in graph.model.graph}
    if pattern in nodes:
        return Selection((pattern,))
    kind, colon, rest = pattern.partition(":")
    if colon and kind in _KINDS:
        return _KINDS[kind](nodes, found, rest) or _refuse(pattern, nodes, found)
    matching = _matching(pattern, nodes)
    if matching:
        return Selection(matching)
    return _tensors(nodes, found, pattern) or _refuse(pattern, nodes, found)


_Nodes = dict[str, ir.Node]


def _operators(nodes: _Nodes, found: Sequence[Layer], pattern: str) -> Selection | None:  # noqa: ARG001
    names = tuple(name for name, node in nodes.items() if fnmatchcase(node.op_type, pattern))
    return Selection(names) if names else None


def _tensors(nodes: _Nodes, found: Sequence[Layer], pattern: str) -> Selection | None:  # noqa: ARG001
    names = _tensor_names(nodes)
    matching = (pattern,) if pattern in names else _matching(pattern, names)
    return Selection(matching, tensors=True) if matching else None


def _tensor_names(nodes: _Nodes) -> tuple[str, ...]:
    values = (v for node in nodes.values() for v in (*node.inputs, *node.outputs) if v is not None)
    return tuple(dict.fromkeys(str(value.name) for value in values if value.name))


def _edge_layers(nodes: _Nodes, found: Sequence[Layer], which: str) -> Selection | None:  # noqa: ARG001
    place = {"first": 0, "last": -1}.get(which)
    return Selection((found[place].name,)) if found and place is not None else None


def _dependents(nodes: _Nodes, found: Sequence[Layer], name: str) -> Selection | None:  # noqa: ARG001
    return _reached(nodes, name, lambda node: node.successors())


def _dependencies(nodes: _Nodes, found: Sequence[Layer], name: str) -> Selection | None:  # noqa: ARG001
    return _reached(nodes, name, lambda node: node.predecessors())


_KINDS: dict[str, Callable[[_Nodes, Sequence[Layer], str], Selection | None]] = {
    "op": _operators,
    "tensor": _tensors,
    "layer": _edge_layers,
    "after": _dependents,
    "before": _dependencies,
}


def _reached(
    nodes: _Nodes, name: str, step: Callable[[ir.Node], Iterable[ir.Node]]
) -> Selection | None:
    """All nodes that `step` leads to from the node `name`, which is left out itself."""
    if name not in nodes:
        return None
    reached: set[str] = set()
    waiting = [nodes[name]]
    while waiting:
        for node in step(waiting.pop()):
            if node.name in nodes and node.name not in reached:
                reached.add(node.name)
                waiting.append(node)
    return Selection(tuple(key for key in nodes if key in reached)) if reached else None


def _matching(pattern: str, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if fnmatchcase(name, pattern))


def _refuse(pattern: str, nodes: _Nodes, found: Sequence[Layer]) -> Selection:
    kind, colon, rest = pattern.partition(":")
    if colon and kind in _KINDS:
        _refuse_kind(pattern, kind, rest, nodes)
    near = difflib.get_close_matches(pattern, nodes, 1)
    hint = f"the nearest name is '{near[0]}', and " if near else ""
    names = ", ".join(layer.name for layer in found[:SHOWN])
    raise TargetError(
        f"override pattern '{pattern}' matches no layer or tensor; {hint}layers are, for example: "
        f"{names}"
    )


def _refuse_kind(pattern: str, kind: str, rest: str, nodes: _Nodes) -> NoReturn:
    """The same for a pattern that says what it names: the names offered are of that kind."""
    if kind == "layer":
        raise TargetError(
            f"override pattern '{pattern}' names no layer; use 'layer:first' or 'layer:last', and"
            " the name alone for others"
        )
    if kind in ("after", "before") and rest in nodes:
        raise TargetError(
            f"override pattern '{pattern}' names nothing: nothing comes {kind} '{rest}'; choose"
            " another node"
        )
    things, names = {
        "op": ("operator", tuple(dict.fromkeys(node.op_type for node in nodes.values()))),
        "tensor": ("tensor", _tensor_names(nodes)),
    }.get(kind, ("node", tuple(nodes)))
    near = difflib.get_close_matches(rest, names, 1)
    hint = f"the nearest is '{near[0]}', and " if near else ""
    raise TargetError(
        f"override pattern '{pattern}' matches no {things}; {hint}{things}s are, for example: "
        f"{', '.join(names[:SHOWN])}"
    )
