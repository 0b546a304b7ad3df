"""Convolution, its transpose, and the integer forms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.graph.ops.common import aligned, along
from workbench.graph.ops.registry import op

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def window_pads(
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    auto_pad: str,
    pads: Sequence[int] | None,
) -> tuple[list[int], list[int]]:
    """Padding (begins, ends) per spatial axis, with `auto_pad` worked out from the input size.

    SAME keeps `out = ceil(in / stride)`; an odd total goes to the end (UPPER) or begin (LOWER).
    """
    rank = len(kernel)
    if auto_pad in ("NOTSET", ""):
        flat = list(pads) if pads else [0] * (2 * rank)
        return flat[:rank], flat[rank:]
    if auto_pad == "VALID":
        return [0] * rank, [0] * rank
    totals = [
        max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)
    ]
    smaller = [total // 2 for total in totals]
    larger = [total - half for total, half in zip(totals, smaller, strict=True)]
    return (smaller, larger) if auto_pad == "SAME_UPPER" else (larger, smaller)


def spatial_pad(x: Tensor, begins: Sequence[int], ends: Sequence[int], value: float = 0) -> Tensor:
    """`x` padded on its spatial axes; negative amounts crop."""
    flat = [n for pair in zip(reversed(begins), reversed(ends), strict=True) for n in pair]
    return F.pad(x, flat, value=value) if any(flat) else x


@op("Conv")
def conv(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """Conv-22: x (N, C, *in), w (out, C / group, *kernel), b (out,) to (N, out, *out)."""
    rank = w.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    begins, ends = window_pads(x.shape[2:], w.shape[2:], strides, dilations, auto_pad, pads)
    if begins != ends:
        x, begins = spatial_pad(x, begins, ends), [0] * rank
    return _CONV[rank](x, w, b, list(strides), begins, list(dilations), group)


@op("ConvTranspose")
def conv_transpose(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """ConvTranspose-22: x (N, C, *in), w (C, out / group, *kernel) to (N, out, *out).

    The full transpose is made, then cropped: `out = stride (in - 1) + (k - 1) d + 1 - pads +
    output_padding`. Negative crops extend with the bias alone, so the bias comes last.
    """
    rank = w.ndim - 2
    strides, dilations = list(strides or [1] * rank), list(dilations or [1] * rank)
    extra = list(output_padding or [0] * rank)
    full = [
        s * (n - 1) + (k - 1) * d + 1
        for n, k, s, d in zip(x.shape[2:], w.shape[2:], strides, dilations, strict=True)
    ]
    wanted = output_shape
    if wanted is None and auto_pad.startswith("SAME"):
        wanted = [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
    if wanted is None:
        begins, ends = window_pads([], w.shape[2:], strides, dilations, auto_pad, pads)
    else:
        totals = [f + e - o for f, e, o in zip(full, extra, wanted, strict=True)]
        begins, ends = _split_totals(totals, auto_pad)
    y = _TRANSPOSED[rank](x, w, None, strides, 0, 0, group, dilations)
    crops = [e - end for e, end in zip(extra, ends, strict=True)]
    y = spatial_pad(y, [-begin for begin in begins], crops)
    return y if b is None else y + along(b, 1, y.ndim)


def _split_totals(totals: Sequence[int], auto_pad: str) -> tuple[list[int], list[int]]:
    halves = [total // 2 for total in totals]
    others = [total - half for total, half in zip(totals, halves, strict=True)]
    return (halves, others) if auto_pad == "SAME_UPPER" else (others, halves)


@op("ConvInteger", since=10)
def conv_integer(
    x: Tensor,
    w: Tensor,
    x_zero_point: Tensor | None = None,
    w_zero_point: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """ConvInteger-10: exact int32 sums of (x - zx)(w - zw), computed in float64."""
    x = centred(x, x_zero_point)
    w = centred(w, w_zero_point, axis=0)
    y = conv(
        x,
        w,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        pads=pads,
        strides=strides,
    )
    return y.to(torch.int32)


def centred(codes: Tensor, zero_point: Tensor | None, axis: int = 0) -> Tensor:
    """`codes - zero_point` in float64, exact for 8-bit codes; a 1-D zero-point runs on `axis`."""
    wide = codes.to(torch.float64)
    if zero_point is None:
        return wide
    wide, zero = aligned(wide, zero_point.to(torch.float64))
    return wide - (along(zero, axis, codes.ndim) if zero.ndim == 1 else zero)
