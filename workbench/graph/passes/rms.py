"""Normalization over the last axis, whichever way it is written.

    LayerNormalization      (x - mean x) / sqrt(var x + ε) · γ + β
    root mean square        x / sqrt(mean x² + ε) · γ

The second comes as one operator or in parts: a square, ReduceMean, Add, Sqrt, and a quotient. It
commutes with rotations of x once γ is taken away; the first does so where the mean of x is zero,
and is then the same as the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor

from workbench.graph.ops.dtypes import torch_dtype
from workbench.graph.passes.base import hand_over, only_reader, wide
from workbench.graph.passes.route import reduced_axes
from workbench.graph.tensors import add_initializer, constant_of, unique, value_names

_WHOLE = ("RMSNormalization", "SimplifiedLayerNormalization")
#: ReduceMean takes its axes as an input from here on
_AXES_AS_INPUT = 18


@dataclass(frozen=True)
class Norm:
    """One normalization over the last axis.

    Attributes:
        source: what it reads; result: what it gives, gain and offset included.
        gain, offset: γ and β, `(width,)` float64; None where there is none.
        centres: it takes the mean away first.
        own: its nodes, those of γ included; the last gives `result`.
        core: the node that gives the value before γ and β, where they are nodes of their own.
    """

    source: ir.Value
    result: ir.Value
    gain: Tensor | None
    offset: Tensor | None
    centres: bool
    own: tuple[ir.Node, ...]
    core: ir.Node


def norms_of(graph: ir.Graph) -> list[Norm]:
    """The normalizations over the last axis in the main graph, in order."""
    found = (_whole(node) or _parts(node) for node in graph)
    return [norm for norm in found if norm is not None]


def width_of(value: ir.Value | None) -> int | None:
    """The size of the last axis, where it is known."""
    if value is None or value.shape is None or not len(value.shape):
        return None
    last = value.shape[-1]
    return last if isinstance(last, int) else None


def make_plain(graph: ir.Graph, opset: int, norm: Norm) -> None:
    """Take γ and β away and, where it centres, write it as a root mean square in parts.

    The result keeps its name. It is the same function only where readers absorb γ and β, and where
    the mean of `source` is zero or it does not centre.
    """
    if len(norm.own) > 1:
        if norm.core is not norm.own[-1]:
            hand_over(graph, norm.core.outputs[0], norm.result)
        return
    node = norm.core
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    last = _written_out(graph, opset, norm, epsilon)
    name = node.name
    hand_over(graph, last, norm.result)
    maker = last.producer()
    assert maker is not None
    maker.name = name


def _whole(node: ir.Node) -> Norm | None:
    """One operator with constant γ and β over the last axis, that gives nothing else."""
    layer = node.op_type == "LayerNormalization" and not node.domain
    if not layer and node.op_type not in _WHOLE:
        return None
    source, size = node.inputs[0], width_of(node.inputs[0])
    if source is None or source.shape is None or size is None:
        return None
    rank = len(source.shape)
    if node.attributes.get_int("axis", -1) % rank != rank - 1:
        return None
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return None
    parts: list[Tensor | None] = []
    for value in node.inputs[1:3]:
        constant = constant_of(value)
        if value is not None and (constant is None or constant.size != size):
            return None
        parts.append(None if value is None else wide(value).flatten())
    gain, offset = (*parts, None, None)[:2]
    return Norm(source, node.outputs[0], gain, offset, layer, (node,), node)


def _parts(mean: ir.Node) -> Norm | None:
    """x / sqrt(mean x² + ε), from its ReduceMean, with a γ behind it where there is one."""
    square = mean.inputs[0].producer() if mean.op_type == "ReduceMean" and mean.inputs[0] else None
    source = None if square is None else _squared(square)
    size = width_of(source)
    if square is None or source is None or source.shape is None or size is None:
        return None
    if reduced_axes(mean) != [len(source.shape) - 1] or only_reader(square.outputs[0]) is None:
        return None
    own, value = [square, mean], mean.outputs[0]
    for kind in ("Add", "Sqrt"):
        found = only_reader(value)
        if found is None or found[0].op_type != kind:
            return None
        own.append(found[0])
        value = found[0].outputs[0]
    quotient = _quotient(source, value)
    if quotient is None:
        return None
    own += quotient
    gain = _gain(quotient[-1].outputs[0], size)
    last = quotient[-1] if gain is None else gain[0]
    own += [] if gain is None else [last]
    known = None if gain is None else gain[1]
    return Norm(source, last.outputs[0], known, None, False, tuple(own), quotient[-1])


def _squared(node: ir.Node) -> ir.Value | None:
    """x, where the node gives x²."""
    if node.op_type == "Mul" and node.inputs[0] is node.inputs[1]:
        return node.inputs[0]
    constant = constant_of(node.inputs[1]) if node.op_type == "Pow" else None
    two = constant is not None and constant.size == 1 and float(constant.numpy().item()) == 2.0
    return node.inputs[0] if two else None


def _quotient(source: ir.Value, root: ir.Value) -> list[ir.Node] | None:
    """The nodes that divide x by the root: Div, or a reciprocal and a Mul."""
    found = only_reader(root)
    if found is None:
        return None
    reader, index = found
    if reader.op_type == "Div" and index == 1 and reader.inputs[0] is source:
        return [reader]
    one = constant_of(reader.inputs[0]) if reader.op_type == "Div" and index == 1 else None
    inverse = one is not None and one.size == 1 and float(one.numpy().item()) == 1.0
    if reader.op_type != "Reciprocal" and not inverse:
        return None
    behind = only_reader(reader.outputs[0])
    if behind is None or behind[0].op_type != "Mul":
        return None
    return [reader, behind[0]] if behind[0].inputs[1 - behind[1]] is source else None


def _gain(value: ir.Value, size: int) -> tuple[ir.Node, Tensor] | None:
    """The Mul with a constant for each channel behind a value."""
    found = only_reader(value)
    if found is None or found[0].op_type != "Mul":
        return None
    other = found[0].inputs[1 - found[1]]
    constant = constant_of(other)
    if constant is None or constant.size != size or constant.shape[-1] != size:
        return None
    return found[0], wide(other).flatten()


def _written_out(graph: ir.Graph, opset: int, norm: Norm, epsilon: float) -> ir.Value:
    """Nodes before `norm` that give x / sqrt(mean x² + ε)."""
    source, node = norm.source, norm.core
    taken = value_names(graph) | {str(other.name) for other in graph}
    dtype = torch.float32 if source.dtype is None else torch_dtype(int(source.dtype))

    def constant(suffix: str, value: Tensor) -> ir.Value:
        return add_initializer(graph, unique(f"{node.name}.{suffix}", taken), value)

    def add(kind: str, *inputs: ir.Value, **attributes: ir.Attr) -> ir.Value:
        name = unique(f"{node.name}.{kind.lower()}", taken)
        made = ir.Node("", kind, inputs, attributes.values(), num_outputs=1, name=name)
        graph.insert_before(node, made)
        value = made.outputs[0]
        value.name, value.type = name, source.type
        shape = list(source.shape or [])
        value.shape = ir.Shape(shape if kind in ("Mul", "Div") else [*shape[:-1], 1])
        return value

    square = add("Mul", source, source)
    if opset >= _AXES_AS_INPUT:
        mean = add("ReduceMean", square, constant("axes", torch.tensor([-1])))
    else:
        mean = add("ReduceMean", square, axes=ir.AttrInt64s("axes", [-1]))
    total = add("Add", mean, constant("epsilon", torch.tensor(epsilon, dtype=dtype)))
    return add("Div", source, add("Sqrt", total))
