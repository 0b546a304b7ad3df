"""Which type holds which codes, and how many bytes that takes in the file.

    weights      1 bit     2 bits    3 bits   4 bits   5 to 8 bits   float8 tables
    "packed"     int2*     int2*     int4°    int4°    int8          float8
    "int8"       int8      int8      int8     int8     int8          float8

    * from opset 25 on, where ONNX Runtime takes it (`holds_two_bits` in `writer`); int4 otherwise.
    ° from opset 21 on; int8 otherwise.

Codes of a level table are indices and unsigned. Activations of 8 bits or less always travel in
8-bit containers: no bytes are saved by packing what is not stored, and ONNX Runtime fails to load
4-bit activations behind a ReLU6 or before a convolution with 8-bit weights. Wider ones travel in 16
bits, from opset 21 on.
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
#: operator sets that brought per-axis scales, float8, blocks with 4- and 16-bit types, and 2 bits
AXIS_OPSET, FLOAT8_OPSET, INT4_OPSET, INT2_OPSET = 13, 19, 21, 25
FLOAT_BYTES = 4

SIGNED = {2: ir.DataType.INT2, 4: ir.DataType.INT4, 8: ir.DataType.INT8, 16: ir.DataType.INT16}
UNSIGNED = {
    2: ir.DataType.UINT2,
    4: ir.DataType.UINT4,
    8: ir.DataType.UINT8,
    16: ir.DataType.UINT16,
}
FLOAT8 = {
    "float8e4m3fn": ir.DataType.FLOAT8E4M3FN,
    "float8e5m2": ir.DataType.FLOAT8E5M2,
}


def weight_container(
    grid: Grid, *, store: Store = "packed", opset: int = INT4_OPSET, two_bits: bool = False
) -> ir.DataType:
    """The type that holds a weight's codes.

    `two_bits` says that ONNX Runtime computes correctly with codes of 2 bits at this place.

    Raises:
        ExportError: more than 8 bits.
    """
    if grid.bits > 8:
        raise ExportError(f"weights of '{grid.bits}' bits have no container; use 1 to 8 bits")
    if grid.table in FLOAT8:
        return FLOAT8[grid.table]
    smallest = 2 if two_bits and opset >= INT2_OPSET else 4 if opset >= INT4_OPSET else 8
    width = 8 if store == "int8" else max(smallest, _power_of_two(grid.bits))
    return (SIGNED if grid.signed and grid.uniform else UNSIGNED)[width]


def activation_container(grid: Grid) -> ir.DataType:
    """The type that holds an activation's codes at run time."""
    return (SIGNED if grid.signed else UNSIGNED)[8 if grid.bits <= 8 else 16]


def least_opset(site: Site) -> int:
    """The oldest operator set that can hold a site's grid at all."""
    if site.kind == "activation":
        return INT4_OPSET if site.grid.bits > 8 else AXIS_OPSET
    if site.grid.granularity.kind == "group" and is_dequantized(site.grid):
        return INT4_OPSET
    return FLOAT8_OPSET if site.grid.table in FLOAT8 else AXIS_OPSET


def packed_opset(site: Site, store: Store, *, two_bits: bool) -> int:
    """The oldest operator set that holds a site's codes in as few bits as `store` allows."""
    if site.kind != "weight":
        return least_opset(site)
    widest = weight_container(site.grid, store=store, opset=INT2_OPSET, two_bits=two_bits)
    needed = {2: INT2_OPSET, 4: INT4_OPSET}.get(widest.bitwidth, AXIS_OPSET)
    return max(needed, least_opset(site))


def code_range(dtype: ir.DataType) -> tuple[int, int]:
    """Lowest and highest code that an integer container can hold."""
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


def pack_levels(frozen: Frozen, dtype: ir.DataType, name: str) -> ir.TensorProtocol:
    """The levels that codes stand for, in a float8 type that has each of them exactly."""
    assert frozen.levels is not None
    assert frozen.codes is not None
    values = frozen.levels[frozen.codes.long()].cpu().numpy()
    stored = values.astype(dtype.numpy())
    if not np.array_equal(stored.astype(np.float32), values):
        raise ExportError(
            f"levels of '{name}' are not values of {dtype.name.lower()}; use the grid's own table"
        )
    return ir.tensor(stored, dtype=dtype, name=name)


def weight_bytes(
    site: Site,
    frozen: Frozen,
    store: Store = "packed",
    *,
    opset: int = INT4_OPSET,
    two_bits: bool = False,
) -> int:
    """Bytes that a weight takes in the file: codes, scales, zero-points and levels if written."""
    dtype = weight_container(site.grid, store=store, opset=opset, two_bits=two_bits)
    points = frozen.zero_point.numel() if has_zero_point(frozen, dtype) else 0
    levels = 0 if is_dequantized(site.grid) or frozen.levels is None else len(frozen.levels)
    packed = _packed_bytes(math.prod(site.shape), dtype) + _packed_bytes(points, dtype)
    return packed + FLOAT_BYTES * (frozen.scale.numel() + levels + _block_indices(site))


def has_zero_point(frozen: Frozen, dtype: ir.DataType) -> bool:
    """False where the file may leave the zero-points out: all are 0, as ONNX then assumes.

    8-bit weights always carry them. ONNX Runtime, asked for exact kernels, rewrites int8 weights as
    uint8 and adds one zero-point where it finds none, even beside a scale for each channel. Tables
    have none.
    """
    if frozen.levels is not None:
        return False
    return dtype.bitwidth == 8 or bool(frozen.zero_point.any())


def is_dequantized(grid: Grid) -> bool:
    """Written with DequantizeLinear; other tables are looked up with Gather."""
    return grid.uniform or grid.table in FLOAT8


def _block_indices(site: Site) -> int:
    """How many block numbers a group-wise table carries: one for each place along the axis."""
    granularity = site.grid.granularity
    if is_dequantized(site.grid) or granularity.kind != "group":
        return 0
    return site.shape[granularity.axis]


def _packed_bytes(count: int, dtype: ir.DataType) -> int:
    return -(-count * dtype.bitwidth // 8)


def _power_of_two(bits: int) -> int:
    """The smallest of 2, 4, 8 that is not below `bits`."""
    return 2 if bits <= 2 else 4 if bits <= 4 else 8
