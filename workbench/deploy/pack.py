"""Which integer type holds which codes, and how many bytes that takes in the file.

    weights      1 bit     2 bits    3 bits   4 bits   5 to 8 bits
    "packed"     int2*     int2*     int4     int4     int8
    "int8"       int8      int8      int8     int8     int8

    * from opset 25 on, and only where the layer's data stays float: with 8-bit data ONNX Runtime
      turns the pair into an integer kernel that refuses int2, and the file does not load. int4
      otherwise.

Activations of 8 bits or less always travel in 8-bit containers: no bytes are saved by packing what
is not stored, and ONNX Runtime fails to load 4-bit activations behind a ReLU6 or before a
convolution with 8-bit weights. Wider ones travel in 16 bits.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import onnx_ir as ir
from torch import Tensor

from workbench.foundation.errors import ExportError
from workbench.graph.sites import Site
from workbench.maths.grid import Grid
from workbench.quantizers.base import Frozen

Store = Literal["packed", "int8"]
INT2_OPSET = 25
FLOAT_BYTES = 4

SIGNED = {2: ir.DataType.INT2, 4: ir.DataType.INT4, 8: ir.DataType.INT8, 16: ir.DataType.INT16}
UNSIGNED = {
    2: ir.DataType.UINT2,
    4: ir.DataType.UINT4,
    8: ir.DataType.UINT8,
    16: ir.DataType.UINT16,
}


def weight_container(
    grid: Grid, *, store: Store = "packed", opset: int = 21, float_data: bool = False
) -> ir.DataType:
    """The type that holds a weight's codes.

    `float_data` says that the layer's other input is not quantized, so that no integer kernel will
    read the codes.

    Raises:
        ExportError: more than 8 bits.
    """
    if grid.bits > 8:
        raise ExportError(f"weights of {grid.bits} bits have no container; use 1 to 8 bits")
    smallest = 2 if float_data and opset >= INT2_OPSET else 4
    width = 8 if store == "int8" else max(smallest, _power_of_two(grid.bits))
    return (SIGNED if grid.signed else UNSIGNED)[width]


def activation_container(grid: Grid) -> ir.DataType:
    """The type that holds an activation's codes at run time."""
    return (SIGNED if grid.signed else UNSIGNED)[8 if grid.bits <= 8 else 16]


def code_range(dtype: ir.DataType) -> tuple[int, int]:
    """Lowest and highest code that a container can hold."""
    if dtype.is_signed():
        return -(2 ** (dtype.bitwidth - 1)), 2 ** (dtype.bitwidth - 1) - 1
    return 0, 2**dtype.bitwidth - 1


def pack(codes: Tensor, dtype: ir.DataType, name: str) -> ir.TensorProtocol:
    """Integer codes (any shape) as an ONNX tensor; types below a byte are packed in the file.

    Raises:
        ExportError: a code does not fit, which would otherwise wrap around silently.
    """
    array = codes.detach().cpu().numpy()
    low, high = code_range(dtype)
    if array.size and (array.min() < low or array.max() > high):
        raise ExportError(
            f"codes of '{name}' run from {array.min()} to {array.max()} and do not fit "
            f"{dtype.name.lower()}; its quantizer and its grid disagree"
        )
    return ir.tensor(array.astype(np.int32).astype(dtype.numpy()), dtype=dtype, name=name)


def weight_bytes(
    site: Site,
    frozen: Frozen,
    store: Store = "packed",
    *,
    opset: int = 21,
    float_data: bool = False,
) -> int:
    """Bytes that a weight takes in the file: codes, scales, and zero-points if written."""
    dtype = weight_container(site.grid, store=store, opset=opset, float_data=float_data)
    count = math.prod(site.shape)
    points = frozen.zero_point.numel() if has_zero_point(frozen, dtype) else 0
    packed = _packed_bytes(count, dtype) + _packed_bytes(points, dtype)
    return packed + FLOAT_BYTES * frozen.scale.numel()


def has_zero_point(frozen: Frozen, dtype: ir.DataType) -> bool:
    """False where the file may leave the zero-points out: all are 0, as ONNX then assumes.

    8-bit weights always carry them. ONNX Runtime, asked for exact kernels, rewrites int8 weights as
    uint8 and adds one zero-point where it finds none, even beside a scale for each channel.
    """
    return dtype.bitwidth == 8 or bool(frozen.zero_point.any())


def _packed_bytes(count: int, dtype: ir.DataType) -> int:
    return -(-count * dtype.bitwidth // 8)


def _power_of_two(bits: int) -> int:
    """The smallest of 2, 4, 8 that is not below `bits`."""
    return 2 if bits <= 2 else 4 if bits <= 4 else 8
