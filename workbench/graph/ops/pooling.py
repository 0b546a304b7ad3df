"""Pooling over windows and over whole planes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.graph.ops.convolution import spatial_pad, window_pads
from workbench.graph.ops.registry import op

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Window(NamedTuple):
    """A pooling window: all per spatial axis; `extra` lies behind `ends` for ceil mode."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    begins: list[int]
    ends: list[int]
    extra: list[int]

    @property
    def plain(self) -> bool:
        """Whether torch's own padding argument can express it."""
        return (
            self.begins == self.ends
            and not any(self.extra)
            and all(2 * b <= k for b, k in zip(self.begins, self.kernel, strict=True))
        )


def window(
    x: Tensor,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    auto_pad: str,
    pads: Sequence[int] | None,
    ceil_mode: int,
) -> Window:
    """The window of a pooling node over `x`, padding worked out."""
    rank = len(kernel_shape)
    kernel, steps = list(kernel_shape), list(strides or [1] * rank)
    spread = list(dilations or [1] * rank)
    begins, ends = window_pads(x.shape[2:], kernel, steps, spread, auto_pad, pads)
    extra = [0] * rank
    if ceil_mode:
        sizes = zip(x.shape[2:], kernel, steps, spread, begins, ends, strict=True)
        extra = [_ceil_extra(*size) for size in sizes]
    return Window(kernel, steps, spread, begins, ends, extra)


def _ceil_extra(n: int, k: int, s: int, d: int, begin: int, end: int) -> int:
    """Padding behind the end so that the last, incomplete window counts.

    A window that would start in the padding behind the data is dropped.
    """
    span = (k - 1) * d + 1
    out = -(-(n + begin + end - span) // s) + 1
    if (out - 1) * s >= n + begin:
        out -= 1
    return max(0, (out - 1) * s + span - (n + begin + end))


@op("MaxPool")
def max_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    storage_order: int = 0,
    strides: Sequence[int] | None = None,
    n_outputs: int = 1,
) -> Tensor | tuple[Tensor, Tensor]:
    """MaxPool-22: (N, C, *in) to (N, C, *out), optionally with flat indices into the input."""
    if not x.is_floating_point():
        wide = max_pool(
            x.float(),
            kernel_shape=kernel_shape,
            auto_pad=auto_pad,
            ceil_mode=ceil_mode,
            dilations=dilations,
            pads=pads,
            strides=strides,
        )
        assert isinstance(wide, Tensor)
        return wide.to(x.dtype)
    w = window(x, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    padded, pad = (x, w.begins) if w.plain else (_padded(x, w, -math.inf), [0] * len(w.kernel))
    pool = _MAX[len(w.kernel)]
    if n_outputs == 1:
        return pool(padded, w.kernel, w.strides, pad, w.dilations)
    y, index = pool(padded, w.kernel, w.strides, pad, w.dilations, return_indices=True)
    offsets = [0] * len(w.kernel) if w.plain else w.begins
    return y, _flat_index(index, x.shape, padded.shape, offsets, storage_order)


def _padded(x: Tensor, w: Window, value: float) -> Tensor:
    ends = [end + more for end, more in zip(w.ends, w.extra, strict=True)]
    return spatial_pad(x, w.begins, ends, value)


def _flat_index(
    index: Tensor, shape: torch.Size, padded: torch.Size, offsets: Sequence[int], order: int
) -> Tensor:
    """Indices within a padded plane as indices into the whole unpadded tensor."""
    coordinates, rest = [], index
    for size, offset in zip(reversed(padded[2:]), reversed(offsets), strict=True):
        coordinates.append(rest % size - offset)
        rest = rest // size
    pairs = list(zip(reversed(coordinates), shape[2:], strict=True))
    flat = torch.zeros_like(index)
    for coordinate, size in reversed(pairs) if order else pairs:
        flat = flat * size + coordinate
    planes = torch.arange(shape[0] * shape[1], device=index.device)
    return flat + planes.reshape(shape[0], shape[1], *[1] * len(offsets)) * math.prod(shape[2:])


@op("AveragePool")
def average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """AveragePool-22: padding counts in the mean only with `count_include_pad`."""
    w = window(x, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    if w.plain and all(d == 1 for d in w.dilations):
        pool = _AVERAGE[len(w.kernel)]
        return pool(x, w.kernel, w.strides, w.begins, False, bool(count_include_pad))
    ones = torch.ones(1, 1, *x.shape[2:], dtype=x.dtype, device=x.device)
    if count_include_pad:
        ones = spatial_pad(spatial_pad(ones, w.begins, w.ends, 1.0), [0] * len(w.extra), w.extra)
    else:
        ones = _padded(ones, w, 0.0)
    return _window_sums(_padded(x, w, 0.0), w) / _window_sums(ones, w)


def _window_sums(x: Tensor, w: Window) -> Tensor:
    planes = x.reshape(-1, 1, *x.shape[2:])
    kernel = torch.ones(1, 1, *w.kernel, dtype=x.dtype, device=x.device)
    sums = _CONV[len(w.kernel)](planes, kernel, None, w.strides, 0, w.dilations)
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


@op("LpPool", since=2)
def lp_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] | None = None,
    p: int = 2,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """LpPool-22: the p-norm of each window."""
    w = window(x, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    return _window_sums(_padded(x.abs() ** p, w, 0.0), w) ** (1 / p)


@op("GlobalAveragePool")
def global_average_pool(x: Tensor) -> Tensor:
    """GlobalAveragePool-22: (N, C, *in) to (N, C, 1 ...)."""
    return x.mean(list(range(2, x.ndim)), keepdim=True)


@op("GlobalMaxPool")
def global_max_pool(x: Tensor) -> Tensor:
    """GlobalMaxPool-22: (N, C, *in) to (N, C, 1 ...)."""
    return x.amax(list(range(2, x.ndim)), keepdim=True)


@op("GlobalLpPool", since=2)
def global_lp_pool(x: Tensor, *, p: int = 2) -> Tensor:
    """GlobalLpPool-22: (N, C, *in) to (N, C, 1 ...)."""
    return (x.abs() ** p).sum(list(range(2, x.ndim)), keepdim=True) ** (1 / p)
