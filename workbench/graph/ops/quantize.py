"""QuantizeLinear, DequantizeLinear and their kin, as ONNX defines them.

    codes = saturate(round(x / scale) + zero_point)        x = (codes - zero_point) scale

These serve files that arrive quantized. The learned quantizers have their own formula, in maths.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.graph.ops.common import along
from workbench.graph.ops.convolution import centred, conv
from workbench.graph.ops.dtypes import (
    FLOAT4,
    FLOAT8,
    integer_range,
    onnx_code,
    torch_dtype,
)
from workbench.graph.ops.narrow import narrowed
from workbench.graph.ops.registry import op


def _spread(parameter: Tensor, x: Tensor, axis: int, block_size: int) -> Tensor:
    """A scale or zero-point broadcastable to `x`: per tensor, per axis or per block."""
    parameter = parameter.to(x.device)
    if parameter.numel() == 1 and parameter.ndim <= 1:
        return parameter.reshape(())
    if parameter.ndim == 1 and not block_size:
        return along(parameter, axis, x.ndim)
    axis = axis + x.ndim if axis < 0 else axis
    size = block_size or -(-x.shape[axis] // parameter.shape[axis])
    return parameter.repeat_interleave(size, axis).narrow(axis, 0, x.shape[axis])


@op("QuantizeLinear", since=10)
def quantize_linear(
    x: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Tensor:
    """QuantizeLinear-28: per tensor, axis or block; to int2 ... int16 or float8."""
    zero_type = 2 if y_zero_point is None else onnx_code(y_zero_point.dtype)
    code = output_dtype or zero_type
    steps = x.float() / _spread(y_scale, x, axis, block_size).float()
    if code in FLOAT8 or code == FLOAT4:
        return narrowed(steps, code, bool(saturate))
    codes = steps.round()
    if y_zero_point is not None:
        codes = codes + _spread(y_zero_point.float(), x, axis, block_size)
    return _to_integer(codes, code)


def _to_integer(codes: Tensor, code: int) -> Tensor:
    low, high = integer_range(code)
    return codes.nan_to_num(0.0, high, low).clamp(low, high).to(torch_dtype(code))


@op("DequantizeLinear", since=10)
def dequantize_linear(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    """DequantizeLinear-28: per tensor, axis or block; from int2 ... int32 or float8."""
    wide = x.float()
    if x_zero_point is not None:
        wide = wide - _spread(x_zero_point.float(), x, axis, block_size)
    y = wide * _spread(x_scale, x, axis, block_size).float()
    return y.to(torch_dtype(output_dtype) if output_dtype else x_scale.dtype)


@op("DynamicQuantizeLinear", since=11)
def dynamic_quantize_linear(x: Tensor, *, n_outputs: int = 3) -> tuple[Tensor, ...] | Tensor:
    """DynamicQuantizeLinear-11: uint8 codes, scale and zero-point from the range, zero included."""
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    scale = (high - low) / 255
    safe = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = _to_integer((-low / safe).round(), 2)
    codes = _to_integer((x / safe).round() + zero, 2)
    return (codes, scale, zero)[:n_outputs] if n_outputs > 1 else codes


@op("QLinearMatMul", since=10)
def qlinear_matmul(
    a: Tensor,
    a_scale: Tensor,
    a_zero_point: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
) -> Tensor:
    """QLinearMatMul-21: dequantize, multiply, quantize."""
    left = dequantize_linear(a, a_scale, a_zero_point, axis=max(a.ndim - 2, 0))
    right = dequantize_linear(b, b_scale, b_zero_point, axis=b.ndim - 1)
    return quantize_linear(left @ right, y_scale, y_zero_point)


@op("QLinearConv", since=10)
def qlinear_conv(
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
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """QLinearConv-10: exact integer sums plus b (int32), scaled by `sx sw / sy` and rounded."""
    sums = conv(
        centred(x, x_zero_point),
        centred(w, w_zero_point),
        None if b is None else b.double(),
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        pads=pads,
        strides=strides,
    )
    scale = x_scale.double() * w_scale.double() / y_scale.double()
    steps = (sums * along(scale.reshape(-1), 1, sums.ndim)).round()
    return _to_integer(steps + y_zero_point.double(), onnx_code(y_zero_point.dtype))


op("QuantizeLinear", domain="com.microsoft")(quantize_linear)
op("DequantizeLinear", domain="com.microsoft")(dequantize_linear)
