"""ONNX Runtime's quantized operators (domain com.microsoft), for files that arrive quantized.

Where ONNX Runtime itself goes through float, so does the function here: dequantize, compute,
quantize. Integer products are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.graph.ops.activation import softmax, softmax_flat
from workbench.graph.ops.common import aligned
from workbench.graph.ops.convolution import centred
from workbench.graph.ops.pooling import average_pool
from workbench.graph.ops.quantize import (
    dequantize_linear,
    dynamic_quantize_linear,
    qlinear_conv,
    quantize_linear,
)
from workbench.graph.ops.registry import op

DOMAIN = "com.microsoft"


def _requantized(x: Tensor, like: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    """`x` as codes, of the type of `like` where there is no zero-point."""
    zero = torch.zeros((), dtype=like.dtype, device=like.device) if zero is None else zero
    return quantize_linear(x, scale, zero)


@op("QLinearAdd", domain=DOMAIN)
def qlinear_add(
    a: Tensor,
    a_scale: Tensor,
    a_zero_point: Tensor | None,
    b: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor | None,
    c_scale: Tensor,
    c_zero_point: Tensor | None = None,
) -> Tensor:
    """QLinearAdd-1."""
    y = dequantize_linear(a, a_scale, a_zero_point) + dequantize_linear(b, b_scale, b_zero_point)
    return _requantized(y, a, c_scale, c_zero_point)


@op("QLinearMul", domain=DOMAIN)
def qlinear_mul(
    a: Tensor,
    a_scale: Tensor,
    a_zero_point: Tensor | None,
    b: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor | None,
    c_scale: Tensor,
    c_zero_point: Tensor | None = None,
) -> Tensor:
    """QLinearMul-1."""
    y = dequantize_linear(a, a_scale, a_zero_point) * dequantize_linear(b, b_scale, b_zero_point)
    return _requantized(y, a, c_scale, c_zero_point)


@op("QLinearWhere", domain=DOMAIN)
def qlinear_where(
    condition: Tensor,
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor,
    y: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    z_scale: Tensor,
    z_zero_point: Tensor,
) -> Tensor:
    """QLinearWhere-1."""
    left = dequantize_linear(x, x_scale, x_zero_point)
    right = dequantize_linear(y, y_scale, y_zero_point)
    return quantize_linear(torch.where(condition, left, right), z_scale, z_zero_point)


@op("QLinearSigmoid", domain=DOMAIN)
def qlinear_sigmoid(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor | None,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
) -> Tensor:
    """QLinearSigmoid-1."""
    y = dequantize_linear(x, x_scale, x_zero_point).sigmoid()
    return _requantized(y, x, y_scale, y_zero_point)


@op("QLinearLeakyRelu", domain=DOMAIN)
def qlinear_leaky_relu(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor | None,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    alpha: float = 0.01,
) -> Tensor:
    """QLinearLeakyRelu-1."""
    y = F.leaky_relu(dequantize_linear(x, x_scale, x_zero_point), alpha)
    return _requantized(y, x, y_scale, y_zero_point)


@op("QLinearSoftmax", domain=DOMAIN)
def qlinear_softmax(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor | None,
    y_scale: Tensor,
    y_zero_point: Tensor,
    *,
    axis: int = -1,
    opset: int,
) -> Tensor:
    """QLinearSoftmax-1: with the meaning of Softmax at `opset`."""
    wide = dequantize_linear(x, x_scale, x_zero_point)
    y = softmax(wide, axis=axis) if opset >= 13 else softmax_flat(wide, axis=axis)
    return quantize_linear(y, y_scale, y_zero_point)


@op("QLinearConcat", domain=DOMAIN)
def qlinear_concat(y_scale: Tensor, y_zero_point: Tensor, *triples: Tensor, axis: int) -> Tensor:
    """QLinearConcat-1: of any number of (codes, scale, zero-point)."""
    parts = [dequantize_linear(*triples[i : i + 3]) for i in range(0, len(triples), 3)]
    return quantize_linear(torch.cat(parts, axis), y_scale, y_zero_point)


def _channels_first(x: Tensor, last: int) -> Tensor:
    return x.movedim(-1, 1) if last else x


def _channels_back(x: Tensor, last: int) -> Tensor:
    return x.movedim(1, -1) if last else x


@op("QLinearAveragePool", domain=DOMAIN)
def qlinear_average_pool(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor | None,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    channels_last: int = 0,
    count_include_pad: int = 0,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """QLinearAveragePool-1."""
    y = average_pool(
        _channels_first(dequantize_linear(x, x_scale, x_zero_point), channels_last),
        kernel_shape=kernel_shape,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        pads=pads,
        strides=strides,
    )
    return _requantized(_channels_back(y, channels_last), x, y_scale, y_zero_point)


@op("QLinearGlobalAveragePool", domain=DOMAIN)
def qlinear_global_average_pool(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    *,
    channels_last: int = 0,
) -> Tensor:
    """QLinearGlobalAveragePool-1."""
    wide = _channels_first(dequantize_linear(x, x_scale, x_zero_point), channels_last)
    y = wide.mean(list(range(2, wide.ndim)), keepdim=True)
    return quantize_linear(_channels_back(y, channels_last), y_scale, y_zero_point)


@op("QLinearConv", domain=DOMAIN)
def microsoft_qlinear_conv(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    channels_last: int = 0,
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """QLinearConv-1 of ONNX Runtime: ONNX's, or with the data's channels last."""
    y = qlinear_conv(
        _channels_first(x, channels_last),
        x_scale,
        x_zero_point,
        w,
        w_scale,
        w_zero_point,
        y_scale,
        y_zero_point,
        b,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        pads=pads,
        strides=strides,
    )
    return _channels_back(y, channels_last)


@op("QGemm", domain=DOMAIN)
def qgemm(
    a: Tensor,
    a_scale: Tensor,
    a_zero_point: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor,
    c: Tensor | None = None,
    y_scale: Tensor | None = None,
    y_zero_point: Tensor | None = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """QGemm-1: `alpha A B` plus c (int32, in steps of `alpha sa sb`); codes, or float without y."""
    left = centred(a, a_zero_point)
    right = centred(b, b_zero_point, axis=0 if transB else 1)
    sums = (left.T if transA else left) @ (right.T if transB else right)
    sums = sums if c is None else sums + c
    y = sums * (alpha * a_scale.double() * b_scale.double())
    return y.float() if y_scale is None else _requantized(y, a, y_scale, y_zero_point)


@op("MatMulIntegerToFloat", domain=DOMAIN)
def matmul_integer_to_float(
    a: Tensor,
    b: Tensor,
    a_scale: Tensor,
    b_scale: Tensor,
    a_zero_point: Tensor | None = None,
    b_zero_point: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """MatMulIntegerToFloat-1: exact integer products, scaled; b per tensor or column."""
    left = centred(a, a_zero_point, axis=max(a.ndim - 2, 0))
    sums = left @ centred(b, b_zero_point, axis=b.ndim - 1)
    y = (sums * (a_scale.double() * b_scale.double())).to(a_scale.dtype)
    return y if bias is None else y + bias


@op("DynamicQuantizeMatMul", domain=DOMAIN)
def dynamic_quantize_matmul(
    a: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """DynamicQuantizeMatMul-1: a quantized to uint8 over its range, then MatMulIntegerToFloat."""
    codes, scale, zero = dynamic_quantize_linear(a)
    return matmul_integer_to_float(codes, b, scale, b_scale, zero, b_zero_point, bias)


def _unpacked(packed: Tensor, bits: int) -> Tensor:
    """Codes of `bits` bits out of uint8, the lowest bits first, along the last axis."""
    shifts = torch.arange(0, 8, bits, device=packed.device)
    codes = (packed.to(torch.int32).unsqueeze(-1) >> shifts) & ((1 << bits) - 1)
    return codes.flatten(-2)


def _refuse_bits(attributes: Mapping[str, Any]) -> str | None:
    bits = attributes.get("bits", 4)
    return None if bits in (2, 4, 8) else f"'{bits}' bits are not supported; use 2, 4 or 8"


@op("MatMulNBits", domain=DOMAIN, refuse=_refuse_bits)
def matmul_nbits(
    a: Tensor,
    b: Tensor,
    scales: Tensor,
    zero_points: Tensor | None = None,
    g_idx: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    K: int,
    N: int,
    block_size: int,
    accuracy_level: int = 0,
    bits: int = 4,
    weight_prepacked: int = 0,
) -> Tensor:
    """MatMulNBits-1: a (..., K) by weights of 2, 4 or 8 bits in blocks along K, to (..., N).

    b (N, blocks, block bits / 8) packed, scales (N blocks,), zero-points packed, or as float; the
    middle code without them. `g_idx` (K,) names the block of each input instead of its place.
    """
    blocks = -(-K // block_size)
    codes = _unpacked(b.reshape(N, blocks, -1), bits)[..., :block_size].to(a.dtype)
    scale = scales.reshape(N, blocks).to(a.dtype)
    zero = _zero_points(zero_points, N, blocks, bits).to(scale)
    if g_idx is not None:
        flat = codes.flatten(1)[:, :K]
        group = g_idx[:K].long()
        weight = (flat - zero[:, group]) * scale[:, group]
    else:
        weight = ((codes - zero.unsqueeze(-1)) * scale.unsqueeze(-1)).flatten(1)[:, :K]
    a, weight = aligned(a, weight)
    return F.linear(a, weight, bias)


def _zero_points(zero: Tensor | None, rows: int, blocks: int, bits: int) -> Tensor:
    if zero is None:
        return torch.full((rows, blocks), float(1 << (bits - 1)))
    if zero.is_floating_point():
        return zero.reshape(rows, blocks)
    return _unpacked(zero.reshape(rows, -1), bits)[:, :blocks]


@op("GatherBlockQuantized", domain=DOMAIN)
def gather_block_quantized(
    data: Tensor,
    indices: Tensor,
    scales: Tensor,
    zero_points: Tensor | None = None,
    *,
    bits: int = 4,
    block_size: int = 128,
    gather_axis: int = 0,
    quantize_axis: int = 1,
) -> Tensor:
    """GatherBlockQuantized-1: slices of a table that is quantized in blocks along an axis.

    uint8 data holds packed codes along its last axis, around the middle code unless there are
    zero-points (packed alike); int4 and uint4 data is held one to a byte.
    """
    packed = data.dtype == torch.uint8 and scales.shape[quantize_axis] * block_size >= (
        data.shape[-1] * (8 // bits)
    )
    codes = _unpacked(data, bits) if packed else data.to(torch.int32)
    middle = 1 << (bits - 1) if packed else 0
    zero = torch.full_like(scales, middle) if zero_points is None else zero_points
    if packed and zero_points is not None:
        zero = _unpacked(zero_points, bits)[..., : scales.shape[-1]]
    width = codes.shape[quantize_axis]
    scale, zero = (
        t.repeat_interleave(block_size, quantize_axis).narrow(quantize_axis, 0, width)
        for t in (scales, zero)
    )
    table = (codes - zero) * scale
    picked = table.index_select(gather_axis, indices.reshape(-1).long())
    axis = gather_axis + data.ndim if gather_axis < 0 else gather_axis
    return picked.reshape(*table.shape[:axis], *indices.shape, *table.shape[axis + 1 :])
