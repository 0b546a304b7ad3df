"""Attention heads that only pass values on: from a value projection to an output projection.

    o = W_o concat_h( P_h V_h ),   V = W_v x + b_v

A rotation R of each head's channels goes in at W_v and out again at W_o, since P_h mixes tokens
and leaves channels alone (R2 of SpinQuant, the value rotation of QuaRot).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from workbench.graph.passes.base import only_reader
from workbench.graph.passes.channels import layers_of
from workbench.graph.passes.linear import Linear
from workbench.graph.passes.rms import width_of
from workbench.graph.tensors import constant_of

_RESHAPES = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten"})
_KEEPS = frozenset({"Expand", "Identity", "Tile"})


@dataclass(frozen=True)
class Heads:
    """The values of one attention.

    Attributes:
        value: makes them; output: reads them, weighted. Both hold heads of `size` channels, one
            behind the other; there may be fewer on the side of `value` (grouped queries).
    """

    value: Linear
    output: Linear
    size: int


def heads_of(graph: ir.Graph) -> Iterator[Heads]:
    """Each attention whose values can be rotated, in order."""
    layers = layers_of(graph)
    made = {
        layer.output: layer
        for layer in layers.values()
        if layer.output.shape is not None and layer.output_axis == len(layer.output.shape) - 1
    }
    for node in graph:
        if node.op_type != "MatMul" or any(constant_of(value) for value in node.inputs):
            continue
        size = width_of(node.inputs[1])
        value = None if size is None else _maker(node, size, made)
        output = None if size is None else _reader(node, size, layers)
        if value is not None and output is not None and size is not None:
            yield Heads(value, output, size)


def _maker(product: ir.Node, size: int, made: dict[ir.Value, Linear]) -> Linear | None:
    """The layer whose channels, `size` by `size`, are on the last axis of the second factor."""
    value = product.inputs[1]
    if value is None or value.shape is None:
        return None
    axis = len(value.shape) - 1
    while value is not None and only_reader(value) is not None and value.shape is not None:
        if value in made:
            whole = axis == len(value.shape) - 1
            return made[value] if whole and made[value].outputs % size == 0 else None
        node = value.producer()
        source = None if node is None else node.inputs[0]
        if node is None or source is None or source.shape is None:
            return None
        if node.op_type == "Transpose":
            axis = list(node.attributes.get_ints("perm") or [])[axis]
        elif node.op_type in _RESHAPES:
            if axis != len(value.shape) - 1 or (width_of(source) or 1) % size:
                return None
            axis = len(source.shape) - 1
        elif node.op_type not in _KEEPS or width_of(source) != size:
            return None
        value = source
    return None


def _reader(product: ir.Node, size: int, layers: dict[ir.Node, Linear]) -> Linear | None:
    """The layer that reads the product's last axis, `size` by `size`, as its input channels."""
    value = product.outputs[0]
    axis = len(value.shape) - 1 if value.shape is not None else 0
    while (found := only_reader(value)) is not None and value.shape is not None:
        reader, index = found
        layer = layers.get(reader)
        if layer is not None:
            whole = layer.data is value and layer.input_axis == axis == len(value.shape) - 1
            return layer if whole and layer.shape[2] % size == 0 else None
        result = reader.outputs[0]
        if index != 0 or result.shape is None:
            return None
        if reader.op_type == "Transpose":
            axis = list(reader.attributes.get_ints("perm") or []).index(axis)
        elif reader.op_type in _RESHAPES:
            if axis != len(value.shape) - 1 or (width_of(result) or 1) % size:
                return None
            axis = len(result.shape) - 1
        else:
            return None
        value = result
    return None
