"""Branches that are known: an If whose condition is a constant, and inputs that are made constant.

Some exported files choose among several networks by an input, such as the sampling rate. With that
input bound, folding makes the conditions known, the branch taken moves into the graph, and its
layers can be quantized like all others.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import onnx_ir as ir
from torch import Tensor

from workbench.foundation.errors import ModelError
from workbench.graph.ops.dtypes import torch_dtype
from workbench.graph.passes.base import FoldRecord, record
from workbench.graph.tensors import known_tensor, to_ir, unique


def bind_inputs(model: ir.Model, values: Mapping[str, Tensor]) -> ir.Model:
    """A copy of `model` with some inputs turned into constants of the same name.

    Args:
        model: it is left untouched.
        values: tensor by input name, of the input's type and of a shape that it allows.

    Raises:
        ModelError: there is no such input, or the tensor does not fit it.
    """
    bound = model.clone()
    for name, tensor in values.items():
        value = _input(bound, name)
        _require_shape(value, tuple(tensor.shape))
        _require_type(value, tensor)
        bound.graph.inputs.remove(value)
        value.const_value = to_ir(tensor.clone(), name)
        value.shape = ir.Shape(tensor.shape)
        bound.graph.register_initializer(value)
    return bound


def _input(model: ir.Model, name: str) -> ir.Value:
    inputs = {str(value.name): value for value in model.graph.inputs}
    if name not in inputs:
        near = difflib.get_close_matches(name, inputs, 1) or list(inputs)[:1]
        raise ModelError(f"the model has no input '{name}'; the nearest name is '{near[0]}'")
    return inputs[name]


def _require_shape(value: ir.Value, given: tuple[int, ...]) -> None:
    sizes = given if value.shape is None else tuple(value.shape)
    same = all(
        not isinstance(wanted, int) or wanted == n for wanted, n in zip(sizes, given, strict=False)
    )
    if len(sizes) != len(given) or not same:
        allowed = [n if isinstance(n, int) else str(n.value) for n in sizes]
        raise ModelError(
            f"input '{value.name}' has the shape '{allowed}', not '{list(given)}'; give what the "
            "input allows"
        )


def _require_type(value: ir.Value, tensor: Tensor) -> None:
    if value.dtype is not None and torch_dtype(int(value.dtype)) != tensor.dtype:
        raise ModelError(
            f"input '{value.name}' is of type '{value.dtype}', and the value given for it of "
            f"'{tensor.dtype}'; convert it first"
        )


def inline_known_branches(model: ir.Model) -> FoldRecord:
    """Each If whose condition is a constant becomes the nodes of the branch taken, in place.

    The values that the branch gives take the names of the If's outputs. All other names are kept,
    unless the graph uses them already.
    """
    done = []
    waiting = _known_ifs(model.graph)
    while waiting:
        for node in waiting:
            done.append(str(node.name))
            _inline(model.graph, node)
        waiting = _known_ifs(model.graph)
    return record("known branches inlined", done)


def _known_ifs(graph: ir.Graph) -> list[ir.Node]:
    return [
        node
        for node in graph
        if node.op_type == "If" and not node.domain and known_tensor(node.inputs[0]) is not None
    ]


def _inline(graph: ir.Graph, node: ir.Node) -> None:
    condition = known_tensor(node.inputs[0])
    assert condition is not None
    taken, other = ("then_branch", "else_branch")
    if not condition.numpy().any():
        taken, other = other, taken
    _discard(node.attributes[other].as_graph())
    branch = node.attributes[taken].as_graph()
    results = list(branch.outputs)
    branch.outputs.clear()
    moved = list(branch)
    branch.remove(moved)
    constants = list(branch.initializers.values())
    branch.initializers.clear()
    _rename(graph, moved, constants)
    for constant in constants:
        graph.register_initializer(constant)
    graph.insert_before(node, moved)
    own = {value for inner in moved for value in inner.outputs}
    for outer, inner in zip(node.outputs, results, strict=True):
        _hand_over(graph, node, outer, inner, own)
    graph.remove(node, safe=True)


def _discard(graph: ir.Graph) -> None:
    """Take a subgraph apart, so that the values it reads are no longer read by it."""
    graph.outputs.clear()
    for node in reversed(list(graph)):
        for attribute in node.attributes.values():
            for child in _subgraphs(attribute):
                _discard(child)
        graph.remove(node, safe=True)
    graph.initializers.clear()


def _subgraphs(attribute: ir.Attr) -> Iterable[ir.Graph]:
    if attribute.type == ir.AttributeType.GRAPH:
        return (attribute.as_graph(),)
    return attribute.as_graphs() if attribute.type == ir.AttributeType.GRAPHS else ()


def _rename(graph: ir.Graph, moved: Iterable[ir.Node], constants: Iterable[ir.Value]) -> None:
    """Names that the graph, or another subgraph, has too are made unique."""
    nodes = [*graph.all_nodes(), *moved]
    node_names = Counter(str(node.name) for node in nodes)
    taken_nodes = set(node_names)
    inner = [*constants, *(value for node in moved for value in node.outputs)]
    value_names = Counter(_names_within(graph)) + Counter(str(value.name) for value in inner)
    taken_values = set(value_names)
    for node in moved:
        if not node.name or node_names[node.name] > 1:
            node.name = unique(node.name or node.op_type, taken_nodes)
    for value in inner:
        if value.name and value_names[value.name] > 1:
            value.name = unique(value.name, taken_values)


def _names_within(graph: ir.Graph) -> Iterator[str]:
    """The name of every value in a graph and in all graphs below it."""
    for part in (graph, *graph.subgraphs()):
        yield from (str(value.name) for value in (*part.inputs, *part.initializers.values()))
        yield from (str(value.name) for node in part for value in node.outputs)


def _hand_over(
    graph: ir.Graph, node: ir.Node, outer: ir.Value, inner: ir.Value, own: set[ir.Value]
) -> None:
    """Readers of the If's output read what the branch gave, under the output's name.

    What the branch only hands on (`own` has the rest) keeps its name; where that of a graph output
    is wanted, an Identity makes it.
    """
    name, outer.name = outer.name, f"{outer.name}\0old"
    if inner in own:
        own.remove(inner)
        inner.name = name
    elif outer.is_graph_output():
        identity = ir.node("Identity", [inner], name=f"{node.name}_{name}")
        graph.insert_before(node, identity)
        inner = identity.outputs[0]
        inner.name = name
    inner.type = inner.type or outer.type
    inner.shape = inner.shape or outer.shape
    outer.replace_all_uses_with(inner, replace_graph_outputs=True)
