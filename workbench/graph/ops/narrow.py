"""Floats of one byte and less, of which torch converts only some as ONNX says."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.graph.ops.dtypes import EXPONENT, FLOAT4, torch_dtype


def narrowed(x: Tensor, code: int, saturate: bool = True, rounding: str = "up") -> Tensor:
    """`x` in the narrow float type `code`: float8, float4 or the exponent alone.

    Args:
        x: floats.
        code: the ONNX element type.
        saturate: values beyond the type's range are held at its end; without it they become NaN,
            or infinite where the type can be. float4 has neither, so it is always held.
        rounding: `up`, `down` or `nearest`, for the exponent alone.
    """
    wide = x.to(torch.float32)
    if code == FLOAT4:
        return _float4(wide).to(torch_dtype(code))
    if code == EXPONENT:
        return _exponent(wide, saturate, rounding)
    dtype = torch_dtype(code)
    limit = torch.finfo(dtype).max
    if saturate:
        return wide.clamp(-limit, limit).to(dtype)
    if dtype == torch.float8_e4m3fn:  # torch saturates it; half a step beyond the end still rounds
        wide = torch.where(wide.abs() > limit + 16, torch.nan, wide)
    return wide.to(dtype)


def _float4(x: Tensor) -> Tensor:
    """The nearest of 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives; NaN becomes zero."""
    size = x.abs().nan_to_num(0.0, 6.0).clamp(max=6.0)
    step = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0))
    return torch.copysign((size / step).round() * step, x)


def _exponent(x: Tensor, saturate: bool, rounding: str) -> Tensor:
    """Powers of two as their biased exponents, the sign left out; NaN for what is not finite."""
    bits = x.contiguous().view(torch.int32)
    exponent, fraction = (bits >> 23) & 0xFF, bits & 0x7FFFFF
    if rounding == "up":
        more = fraction > 0
    elif rounding == "nearest":
        half = 0x400000
        more = (fraction > half) | ((fraction == half) & (exponent > 0))
    else:
        more = torch.zeros_like(fraction, dtype=torch.bool)
    more = more & (exponent < (0xFE if saturate else 0xFF))
    return (exponent + more).to(torch.uint8).view(torch.float8_e8m0fnu)
