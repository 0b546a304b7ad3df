"""Where quantizers can sit: weights, activations and biases of an ONNX graph, by name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir

from workbench.graph.build import Graph
from workbench.graph.corrections import is_correction
from workbench.maths.grid import Grid

SiteKind = Literal["weight", "activation", "bias"]

#: operator -> indices of the inputs that can be weights
WEIGHT_INPUTS: dict[str, tuple[int, ...]] = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "FusedConv": (1,),
    "Gemm": (1,),
    "MatMul": (0, 1),
    "FusedMatMul": (0, 1),
    "GRU": (1, 2),
    "LSTM": (1, 2),
    "RNN": (1, 2),
    "Gather": (0,),
}
BIAS_INPUTS = {"Conv": 2, "ConvTranspose": 2, "FusedConv": 2, "Gemm": 2}
RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
PRODUCTS = frozenset({"MatMul", "FusedMatMul"})
#: operators with weights that ONNX Runtime keeps in a domain of its own
FUSED = frozenset({"FusedConv", "FusedMatMul"})
MICROSOFT = "com.microsoft"


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
        shares: name of the site whose quantizer this one uses, None where it has its own.
        note: what the target changed about the grid that was asked for, in one sentence, or "".
        own_levels: the runtime takes an activation here whose thresholds or levels are not equal
            steps; what makes it then computes in float, and what reads it does so where its levels
            are no whole multiples of a step. Not where tensors share their codes.
        widths: numbers of bits that the target runs a weight in here; empty where it is not known.
    """

    name: str
    kind: SiteKind
    tensor: str
    edges: tuple[tuple[str, int], ...]
    layer: str | None
    grid: Grid
    shape: tuple[int, ...]
    shares: str | None = None
    note: str = ""
    own_levels: bool = field(default=False, compare=False)
    widths: tuple[int, ...] = field(default=(), compare=False)


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
        input: the tensor it reads; output: the first tensor it writes that has a name.
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

    @property
    def weight_indices(self) -> frozenset[int]:
        """Which inputs of the node are weights."""
        return frozenset(weight.index for weight in self.weights)


def layers(graph: Graph) -> list[Layer]:
    """All nodes that hold a float weight, in the order of the graph."""
    found = (_layer(node) for node in graph.model.graph)
    return [layer for layer in found if layer is not None]


def is_constant(value: ir.Value | None) -> bool:
    """True for an initializer or the output of nothing."""
    return value is None or value.is_initializer()


def product_macs(node: ir.Node) -> int:
    """Multiply-adds of a product of two activations for one example; 0 of any other node."""
    if node.op_type not in PRODUCTS or node.inputs[0] is None:
        return 0
    summed = value_shape(node.inputs[0])[-1:]
    return math.prod(value_shape(node.outputs[0])[1:]) * math.prod(summed) if summed else 0


def value_shape(value: ir.Value) -> tuple[int, ...]:
    """Known dimensions, 0 where symbolic; () if the rank is not known."""
    if value.shape is None:
        return ()
    return tuple(dim if isinstance(dim, int) else 0 for dim in value.shape)


def _layer(node: ir.Node) -> Layer | None:
    own = ("", "ai.onnx") if node.op_type not in FUSED else (MICROSOFT,)
    weights = tuple(_weights(node)) if node.domain in own else ()
    if not weights:
        return None
    bias = _bias(node)
    paired = node.op_type in PRODUCTS or node.op_type == "Gather"
    data = node.inputs[1 - weights[0].index] if paired else node.inputs[0]
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
        output=str(next((value.name for value in node.outputs if value.name), "")),
        parameters=sum(sizes) + bias_size,
        macs=_macs(node, sum(sizes)),
    )


def _weights(node: ir.Node) -> Iterable[Weight]:
    for index in WEIGHT_INPUTS.get(node.op_type, ()):
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is None or not value.is_initializer() or value.dtype != ir.DataType.FLOAT:
            continue
        shape = value_shape(value)
        if len(shape) < 2 or 0 in shape or is_correction(value.name):
            continue
        if node.op_type == "Gather" and not _is_embedding(node, shape):
            continue
        channel, summed = _axes(node, index, len(shape))
        yield Weight(str(value.name), index, channel, summed, shape)


def attribute(node: ir.Node, name: str, default: int = 0) -> int:
    """An integer attribute of a node."""
    found = node.attributes.get(name)
    return default if found is None else found.as_int()


def _is_embedding(node: ir.Node, shape: tuple[int, ...]) -> bool:
    """Rows of a table, picked by indices that are not known before run time."""
    indices = node.inputs[1]
    return len(shape) == 2 and not is_constant(indices) and attribute(node, "axis") in (0, -2)


def _axes(node: ir.Node, index: int, rank: int) -> tuple[int, int]:
    """(channel axis, summed axis) of a weight; the rows of an embedding count as channels."""
    if node.op_type == "ConvTranspose":
        return 1, 0
    if node.op_type == "Gemm":
        return (0, 1) if attribute(node, "transB") else (1, 0)
    if node.op_type in PRODUCTS:
        turned = attribute(node, "transB" if index == 1 else "transA")
        last_is_channel = (index == 1) != bool(turned)
        return (rank - 1, rank - 2) if last_is_channel else (rank - 2, rank - 1)
    if node.op_type in RECURRENT:
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
    if node.op_type not in PRODUCTS or len(uses) != 1 or uses[0].node.op_type != "Add":
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
    if node.op_type == "Gather":
        return 0
    if node.op_type in RECURRENT:
        return weights * out[0] if out else 0
    if node.op_type == "ConvTranspose":
        data = node.inputs[0]
        return weights * math.prod(value_shape(data)[2:]) if data is not None else 0
    if node.op_type in ("Conv", "FusedConv"):
        return weights * math.prod(out[2:]) if len(out) > 2 else 0
    positions = math.prod(out[1:-1]) if len(out) > 2 else 1
    return weights * positions
