"""Tensors between the ONNX graph and torch."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from workbench.foundation.errors import ModelError
from workbench.graph.ops.dtypes import EXPONENT, FLOAT4, is_sub_byte, onnx_code, torch_dtype

_NOT_IN_NUMPY = frozenset({16, 17, 18, 19, 20, EXPONENT})


class Owned(ir.Tensor):
    """A tensor that was made here, so that its memory may be shared and need not be copied."""


def to_torch(tensor: ir.TensorProtocol, *, share: bool = False) -> Tensor:
    """An ONNX tensor in torch; types below a byte are held in a whole one.

    Args:
        tensor: the constant.
        share: take the memory of what was made here (`Owned`) instead of a copy.
    """
    if share and isinstance(tensor, Owned) and int(tensor.dtype) not in _NOT_IN_NUMPY:
        return torch.from_numpy(tensor.numpy())
    code = int(tensor.dtype)
    dtype = torch_dtype(code)
    array = np.asarray(tensor.numpy())
    if code in _NOT_IN_NUMPY:
        raw = array.view(np.uint16 if dtype.itemsize == 2 else np.uint8)
        return torch.from_numpy(np.array(raw, copy=True)).view(dtype)
    if code == FLOAT4:
        return torch.from_numpy(array.astype(np.float32)).to(dtype)
    if is_sub_byte(code):
        array = array.astype(np.int8 if dtype == torch.int8 else np.uint8)
    return torch.from_numpy(np.array(array, copy=True, order="C"))


def to_ir(tensor: Tensor, name: str) -> Owned:
    """An ONNX tensor in the memory of `tensor`, which nobody else may change from now on."""
    plain = tensor.detach().cpu().contiguous()
    if plain.dtype in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2):
        dtype = ir.DataType(onnx_code(plain.dtype))
        raw = plain.view(torch.uint16 if plain.dtype.itemsize == 2 else torch.uint8).numpy()
        return Owned(raw.view(dtype.numpy()), dtype=dtype, name=name)
    return Owned(plain.numpy(), name=name)


def constant_of(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The constant behind a value: an initializer's, or None where it is computed or absent."""
    if value is None or not value.is_initializer():
        return None
    return value.const_value


def is_constant_node(node: ir.Node) -> bool:
    """Whether `node` is ONNX's Constant."""
    return node.op_type == "Constant" and node.domain in ("", "ai.onnx")


def known_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The constant behind a value: an initializer's or a Constant node's, or None."""
    producer = None if value is None else value.producer()
    if producer is not None and is_constant_node(producer):
        return constant_node_tensor(producer)
    return constant_of(value)


def constant_node_tensor(node: ir.Node) -> ir.TensorProtocol:
    """What a Constant node holds, whichever attribute it was written in."""
    for name, attribute in node.attributes.items():
        if name == "value":
            return attribute.as_tensor()
        if name in ("value_float", "value_floats"):
            return ir.tensor(np.array(attribute.value, dtype=np.float32))
        if name in ("value_int", "value_ints"):
            return ir.tensor(np.array(attribute.value, dtype=np.int64))
    raise ModelError(
        f"the Constant node '{node.name}' holds no plain tensor; replace it by an initializer"
    )


def add_initializer(graph: ir.Graph, name: str, tensor: Tensor) -> ir.Value:
    """A new initializer of `graph`; the name must be free."""
    constant = to_ir(tensor, name)
    value = ir.Value(
        name=name,
        shape=ir.Shape(list(tensor.shape)),
        type=ir.TensorType(constant.dtype),
        const_value=constant,
    )
    graph.register_initializer(value)
    return value


def value_names(graph: ir.Graph) -> set[str]:
    """Every value name in the main graph."""
    names = {str(v.name) for v in graph.inputs} | set(graph.initializers)
    names.update(str(v.name) for node in graph for v in node.outputs if v.name)
    return names


def unique(wanted: str, taken: set[str]) -> str:
    """`wanted`, or the first of `wanted_1`, `wanted_2` ... that is free; it is then taken."""
    name, count = wanted, 0
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    taken.add(name)
    return name
