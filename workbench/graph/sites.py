"""Where quantizers can sit: weights, activations and biases of an ONNX graph, by name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from workbench.graph.build import Graph
from workbench.maths.grid import Grid

SiteKind = Literal["weight", "activation", "bias"]

#: operator -> indices of the inputs that can be weights
WEIGHT_INPUTS: dict[str, tuple[int, ...]] = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "Gemm": (1,),
    "MatMul": (0, 1),
    "GRU": (1, 2),
    "LSTM": (1, 2),
    "RNN": (1, 2),
}
BIAS_INPUTS = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2}


@dataclass(frozen=True)
class Site:
    """A named edge of the graph where a quantizer sits.

    Attributes:
        name: the initializer's name (weight, bias) or the tensor's (activation); unique.
        kind: "weight", "activation" or "bias".
        tensor: the ONNX value that is quantized.
        edges: readers of the quantized value, as (node name, input index).
        layer: the node with weights it belongs to; for an activation shared by several, the first.
        grid: the grid that was asked for.
        shape: of the tensor, 0 where a dimension is not known before run time.
    """

    name: str
    kind: SiteKind
    tensor: str
    edges: tuple[tuple[str, int], ...]
    layer: str | None
    grid: Grid
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Weight:
    """A weight of a layer: which input it is and how it is laid out.

    Attributes:
        name: the initializer.
        index: input index at the node.
        channel_axis: axis with one index per output channel.
        input_axis: axis along which products are summed (groups of weights run along it).
    """

    name: str
    index: int
    channel_axis: int
    input_axis: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A node with weights.

    Attributes:
        name: node name; op: its operator.
        weights: its weights; bias: the initializer of its bias input, if it has one.
        offset: the initializer that is added to each output channel: the bias, or the constant of
            an Add that follows; None where there is none that belongs to this layer alone.
        input: the tensor it reads; output: the tensor it writes.
        parameters: number of values in weights and bias; macs: multiply-adds for one example, 0
            where a shape is not known.
    """

    name: str
    op: str
    weights: tuple[Weight, ...]
    bias: str | None
    offset: str | None
    input: str
    output: str
    parameters: int
    macs: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first weight."""
        return self.weights[0].shape


def layers(graph: Graph) -> list[Layer]:
    """All nodes that hold a float weight, in the order of the graph."""
    found = (_layer(node) for node in graph.model.graph)
    return [layer for layer in found if layer is not None]


def is_constant(value: ir.Value | None) -> bool:
    """True for an initializer or the output of nothing."""
    return value is None or value.is_initializer()


def value_shape(value: ir.Value) -> tuple[int, ...]:
    """Known dimensions, 0 where symbolic; () if the rank is not known."""
    if value.shape is None:
        return ()
    return tuple(dim if isinstance(dim, int) else 0 for dim in value.shape)


def _layer(node: ir.Node) -> Layer | None:
    weights = tuple(_weights(node))
    if not weights or node.domain not in ("", "ai.onnx"):
        return None
    bias = _bias(node)
    data = node.inputs[1 - weights[0].index] if node.op_type == "MatMul" else node.inputs[0]
    if data is None or data.name is None or node.name is None:
        return None
    sizes = [math.prod(weight.shape) for weight in weights]
    bias_size = math.prod(value_shape(bias)) if bias is not None else 0
    return Layer(
        name=node.name,
        op=node.op_type,
        weights=weights,
        bias=bias.name if bias is not None else None,
        offset=_offset(node, bias, weights[0]),
        input=data.name,
        output=str(node.outputs[0].name),
        parameters=sum(sizes) + bias_size,
        macs=_macs(node, sum(sizes)),
    )


def _weights(node: ir.Node) -> Iterable[Weight]:
    for index in WEIGHT_INPUTS.get(node.op_type, ()):
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is None or not value.is_initializer() or value.dtype != ir.DataType.FLOAT:
            continue
        shape = value_shape(value)
        if len(shape) < 2 or 0 in shape:
            continue
        channel, summed = _axes(node, index, len(shape))
        yield Weight(str(value.name), index, channel, summed, shape)


def _axes(node: ir.Node, index: int, rank: int) -> tuple[int, int]:
    """(channel axis, summed axis) of a weight."""
    if node.op_type == "ConvTranspose":
        return 1, 0
    if node.op_type == "Gemm":
        attribute = node.attributes.get("transB")
        return (0, 1) if attribute is not None and attribute.as_int() else (1, 0)
    if node.op_type == "MatMul":
        return (rank - 1, rank - 2) if index == 1 else (rank - 2, rank - 1)
    if node.op_type in ("GRU", "LSTM", "RNN"):
        return 1, 2
    return 0, 1


def _bias(node: ir.Node) -> ir.Value | None:
    index = BIAS_INPUTS.get(node.op_type)
    if index is None or index >= len(node.inputs):
        return None
    value = node.inputs[index]
    usable = value is not None and value.is_initializer() and len(value_shape(value)) == 1
    return value if usable else None


def _offset(node: ir.Node, bias: ir.Value | None, weight: Weight) -> str | None:
    if bias is not None:
        return bias.name if len(bias.uses()) == 1 else None
    uses = list(node.outputs[0].uses())
    if node.op_type != "MatMul" or len(uses) != 1 or uses[0].node.op_type != "Add":
        return None
    adder = uses[0]
    other = adder.node.inputs[1 - adder.idx]
    fits = other is not None and value_shape(other) == (weight.shape[weight.channel_axis],)
    if not fits or other is None or not other.is_initializer() or len(other.uses()) != 1:
        return None
    return other.name if weight.index == 1 else None


def _macs(node: ir.Node, weights: int) -> int:
    """Multiply-adds for one example: weights used once per output position."""
    out = value_shape(node.outputs[0])
    if node.op_type in ("GRU", "LSTM", "RNN"):
        return weights * out[0] if out else 0
    if node.op_type == "ConvTranspose":
        data = node.inputs[0]
        return weights * math.prod(value_shape(data)[2:]) if data is not None else 0
    if node.op_type == "Conv":
        return weights * math.prod(out[2:]) if len(out) > 2 else 0
    positions = math.prod(out[1:-1]) if len(out) > 2 else 1
    return weights * positions
