"""A layer as `y = W x + b` per channel, whatever operator it is written in.

Passes that rescale layers work on this form, in float64, and write the result back:

    W  has the shape (groups, outputs / group, inputs / group, taps)
    y_o = Σ_i Σ_k W_oik x_ik + b_o

Convolutions have taps, matrix products have one. A bias is the operator's own input, or the
constant of the Add behind a MatMul; where there is none and one is needed, it is made.
"""

from __future__ import annotations

from functools import cached_property

import onnx_ir as ir
import torch
from torch import Tensor

from workbench.graph.ops.dtypes import torch_dtype
from workbench.graph.passes.base import only_reader, set_constant, wide
from workbench.graph.tensors import add_initializer, constant_of, unique, value_names

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16})


class Linear:
    """A working copy of one layer's weight and bias; `write` puts it into the graph.

    Attributes:
        node: the Conv, ConvTranspose, Gemm or MatMul.
        shape: (groups, outputs / group, inputs / group, taps), of the weight.
        bias: (outputs,), float64; zeros where the layer has none.
    """

    def __init__(self, node: ir.Node, index: int, adder: ir.Node | None) -> None:
        self.node = node
        self._index = index
        self._adder = adder
        value = node.inputs[index]
        assert value is not None
        self._value = value
        self._shape = tuple(value.const_value.shape.numpy())  # type: ignore[union-attr]
        self.shape = tuple(self._canonical(torch.empty(self._shape, device="meta")).shape)
        self.bias = self._read_bias()

    @cached_property
    def weight(self) -> Tensor:
        """W; read when it is first asked for, since it takes twice the memory of the constant."""
        return self._canonical(wide(self._value))

    @property
    def data(self) -> ir.Value | None:
        """What the layer reads."""
        return self.node.inputs[1 - self._index if self.node.op_type == "MatMul" else 0]

    @property
    def output(self) -> ir.Value:
        """What the layer gives, bias included."""
        return (self._adder or self.node).outputs[0]

    @property
    def weight_index(self) -> int:
        """Which input of `node` is the weight."""
        return self._index

    @property
    def bias_place(self) -> tuple[ir.Node, int] | None:
        """The node and input index that hold the bias; None where there is none."""
        if self._adder is not None:
            return self._adder, 1 if self._adder.inputs[0] is self.node.outputs[0] else 0
        own = len(self.node.inputs) > 2 and self.node.inputs[2] is not None
        return (self.node, 2) if own else None

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        return self.shape[0] * self.shape[1]

    @property
    def output_axis(self) -> int | None:
        """The axis of `output` that counts channels; None where its rank is not known."""
        return self._axis(self.output)

    @property
    def input_axis(self) -> int | None:
        """The axis of `data` that counts input channels; None where its rank is not known."""
        return None if self.data is None else self._axis(self.data)

    @property
    def owns_weight(self) -> bool:
        """No other node reads the weight."""
        return len(self._value.uses()) == 1

    @property
    def pads_with_zeros(self) -> bool:
        """Some outputs see fewer taps than others, or zeros that are not in the data."""
        if self.node.op_type == "ConvTranspose":
            return self.shape[3] > 1
        automatic = self.node.attributes.get_string("auto_pad", "NOTSET") in (
            "SAME_UPPER",
            "SAME_LOWER",
        )
        return automatic or any(self.node.attributes.get_ints("pads") or [])

    def output_ranges(self) -> Tensor:
        """max |W| of each output channel."""
        return self.weight.abs().amax((2, 3)).flatten()

    def input_ranges(self) -> Tensor:
        """max |W| of each input channel."""
        return self.weight.abs().amax((1, 3)).flatten()

    def scale_outputs(self, factors: Tensor) -> None:
        """y becomes factors * y."""
        self.weight.mul_(factors.reshape(self.shape[0], -1, 1, 1))
        self.bias = self.bias * factors

    def scale_inputs(self, factors: Tensor) -> None:
        """W x becomes W (factors * x)."""
        self.weight.mul_(factors.reshape(self.shape[0], 1, -1, 1))

    def response(self, constant: Tensor) -> Tensor:
        """W c for an input that is `c` at every position, where no padding comes in."""
        groups = self.shape[0]
        total = (self.weight.sum(3) * constant.reshape(groups, 1, -1)).sum(2).flatten()
        return total * self.node.attributes.get_float("alpha", 1.0)

    def write(self, graph: ir.Graph) -> None:
        """Put weight and bias into the graph, in the weight's own type."""
        dtype = torch_dtype(int(constant_of(self._value).dtype))  # type: ignore[union-attr]
        name = str(self._value.name)
        if self.has_bias or bool(self.bias.any()):
            self._write_bias(graph, self.bias.to(dtype))
        set_constant(graph, self.node, self._index, self._flat(self.weight).to(dtype), name)
        value = self.node.inputs[self._index]
        assert value is not None
        self._value = value
        del self.weight  # it is the constant now

    @property
    def has_bias(self) -> bool:
        """The graph holds a bias already."""
        return self.bias_place is not None

    def stored(self, weight: Tensor) -> Tensor:
        """A weight of `shape`, laid out as the graph holds it."""
        return self._flat(weight)

    def for_inputs(self, factors: Tensor) -> Tensor:
        """One factor for each input channel as one for each stored weight."""
        return self._flat(factors.reshape(self.shape[0], 1, -1, 1).expand(self.shape))

    def for_outputs(self, factors: Tensor) -> Tensor:
        """One factor for each output channel as one for each stored weight."""
        return self._flat(factors.reshape(self.shape[0], -1, 1, 1).expand(self.shape))

    def for_bias(self, factors: Tensor) -> Tensor:
        """One factor for each output channel in the shape of the bias."""
        row = self.node.op_type == "MatMul" and self._index == 0
        return factors.reshape(-1, 1) if row else factors

    def _axis(self, value: ir.Value) -> int | None:
        if self.node.op_type != "MatMul":
            return 1
        rank = None if value.shape is None else len(value.shape)
        return None if rank is None or rank < 2 else rank - (1 if self._index == 1 else 2)

    def _canonical(self, weight: Tensor) -> Tensor:
        kind = self.node.op_type
        if kind in _CONVOLUTIONS:
            groups = self.node.attributes.get_int("group", 1)
            grouped = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
            return grouped if kind == "Conv" else grouped.transpose(1, 2)
        return self._oriented(weight).reshape(1, *self._oriented(weight).shape, 1)

    def _flat(self, weight: Tensor) -> Tensor:
        kind = self.node.op_type
        if kind in _CONVOLUTIONS:
            grouped = weight if kind == "Conv" else weight.transpose(1, 2)
            return grouped.reshape(self._shape)
        return self._oriented(weight[0, :, :, 0])

    def _oriented(self, matrix: Tensor) -> Tensor:
        """(out, in) from the stored matrix, and back."""
        if self.node.op_type == "Gemm":
            return matrix if self.node.attributes.get_int("transB", 0) else matrix.T
        return matrix.T if self._index == 1 else matrix

    def _read_bias(self) -> Tensor:
        zeros = torch.zeros(self.outputs, dtype=torch.float64)
        if self._adder is not None:
            return zeros + wide(_constant_side(self._adder, self.node)).flatten()
        value = self.node.inputs[2] if len(self.node.inputs) > 2 else None
        if value is None:
            return zeros
        beta = self.node.attributes.get_float("beta", 1.0) if self.node.op_type == "Gemm" else 1.0
        return zeros + beta * wide(value).flatten()

    def _write_bias(self, graph: ir.Graph, bias: Tensor) -> None:
        if self.node.op_type == "MatMul":
            adder = self._adder or self._append_adder(graph)
            index = 1 if adder.inputs[0] is self.node.outputs[0] else 0
            old = adder.inputs[index]
            shaped = bias if self._index == 1 else bias.reshape(-1, 1)
            set_constant(graph, adder, index, shaped, str(old.name) if old else self._bias_name())
            return
        self.node.attributes.pop("beta", None)
        old = self.node.inputs[2] if len(self.node.inputs) > 2 else None
        set_constant(graph, self.node, 2, bias, str(old.name) if old else self._bias_name())

    def _append_adder(self, graph: ir.Graph) -> ir.Node:
        """An Add behind a MatMul, whose sum takes over the name of the product."""
        product = self.node.outputs[0]
        taken = value_names(graph)
        total = ir.Value(name=product.name, shape=product.shape, type=product.type)
        product.name = unique(f"{product.name}.product", taken)
        zero = add_initializer(graph, unique(self._bias_name(), taken), torch.zeros(1))
        product.replace_all_uses_with(total, replace_graph_outputs=True)
        total.meta.update(product.meta)
        name = unique(f"{self.node.name}.add", {str(node.name) for node in graph})
        adder = ir.Node("", "Add", [product, zero], outputs=[total], name=name)
        graph.insert_after(self.node, adder)
        self._adder = adder
        return adder

    def _bias_name(self) -> str:
        weight = str(self._value.name)
        stem = weight.removesuffix(".weight")
        return f"{self.node.name or weight if stem == weight else stem}.bias"


def linear(node: ir.Node | None) -> Linear | None:
    """`node` as a layer, where its weight is a constant and its bias one value per channel."""
    if node is None or node.domain not in ("", "ai.onnx"):
        return None
    index = _weight_index(node)
    if index is None:
        return None
    layer = Linear(node, index, _adder(node, index))
    own = node.inputs[2] if len(node.inputs) > 2 else None
    known = own is None or _per_channel(own, layer.outputs)
    return layer if known else None


def _weight_index(node: ir.Node) -> int | None:
    if node.op_type in _CONVOLUTIONS:
        return 1 if _is_weight(node.inputs[1]) else None
    if node.op_type == "Gemm":
        plain = not node.attributes.get_int("transA", 0) and _is_weight(node.inputs[1], 2)
        return 1 if plain else None
    if node.op_type == "MatMul":
        both = [i for i in (0, 1) if _is_weight(node.inputs[i], 2)]
        return both[0] if len(both) == 1 else None
    return None


def _is_weight(value: ir.Value | None, rank: int | None = None) -> bool:
    constant = constant_of(value)
    if constant is None or constant.dtype not in _FLOATS:
        return False
    return len(constant.shape) == rank if rank else len(constant.shape) > 2


def _per_channel(value: ir.Value | None, channels: int) -> bool:
    constant = constant_of(value)
    return constant is not None and constant.size in (1, channels)


def _adder(node: ir.Node, index: int) -> ir.Node | None:
    """The Add of one constant per channel that alone reads a MatMul."""
    found = only_reader(node.outputs[0]) if node.op_type == "MatMul" else None
    if found is None or found[0].op_type != "Add" or found[0].domain:
        return None
    adder = found[0]
    constant = constant_of(adder.inputs[1 - found[1]])
    weight = constant_of(node.inputs[index])
    if constant is None or weight is None:
        return None
    channels = weight.shape[1 if index == 1 else 0]
    wanted = [channels] if index == 1 else [channels, 1]
    shape = list(constant.shape)
    rank = None if node.outputs[0].shape is None else len(node.outputs[0].shape)
    fits = shape == [1] * (len(shape) - len(wanted)) + wanted
    return adder if fits and rank is not None and len(shape) <= rank else None


def _constant_side(adder: ir.Node, host: ir.Node) -> ir.Value | None:
    return adder.inputs[1 if adder.inputs[0] is host.outputs[0] else 0]
