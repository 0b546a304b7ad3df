"""Reading feature maps at positions that are themselves data."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.graph.ops.common import ints
from workbench.graph.ops.registry import op

_GRID_MODES = {"linear": "bilinear", "bilinear": "bilinear", "nearest": "nearest"}
_GRID_MODES |= {"cubic": "bicubic", "bicubic": "bicubic"}


@op("AffineGrid", since=20, host=("size",))
def affine_grid(theta: Tensor, size: Tensor | Sequence[int], *, align_corners: int = 0) -> Tensor:
    """AffineGrid-20: theta (N, 2, 3) or (N, 3, 4) to positions (N, *out, 2 or 3) in [-1, 1]."""
    return F.affine_grid(theta, ints(size), bool(align_corners))


@op("GridSample", since=16)
def grid_sample(
    x: Tensor,
    grid: Tensor,
    *,
    align_corners: int = 0,
    mode: str = "linear",
    padding_mode: str = "zeros",
) -> Tensor:
    """GridSample-22: x (N, C, *in) at positions (N, *out, rank) in [-1, 1], to (N, C, *out)."""
    options = (_GRID_MODES[mode], padding_mode, bool(align_corners))
    if x.ndim == 3:  # one spatial axis: the middle line of a plane one pixel high
        line = F.pad(grid, (0, 1)).unsqueeze(1)
        return F.grid_sample(x.unsqueeze(2), line, *options).squeeze(2)
    return F.grid_sample(x, grid, *options)


@op("DeformConv", since=19)
def deform_conv(
    x: Tensor,
    w: Tensor,
    offset: Tensor,
    b: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    offset_group: int = 1,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """DeformConv-22: each tap of the kernel reads at its place plus a learned offset.

    x (N, C, H, W), w (out, C / group, kh, kw), offset (N, groups kh kw 2, oh, ow) as (y, x) in
    pixels, mask (N, groups kh kw, oh, ow); positions between pixels are interpolated, those outside
    are zero.
    """
    n, c = x.shape[:2]
    rows, columns = offset.shape[2:]
    place = _tap_positions(w, rows, columns, dilations, pads, strides).to(offset)
    taps = w.shape[2] * w.shape[3]
    moved = offset.reshape(n * offset_group, taps, 2, rows, columns) + place
    size = torch.tensor(x.shape[2:], dtype=offset.dtype, device=offset.device).reshape(2, 1, 1)
    grid = ((2 * moved + 1) / size - 1).movedim(2, -1).flip(-1)  # (N groups, taps, oh, ow, 2)
    parts = x.reshape(n * offset_group, c // offset_group, *x.shape[2:])
    read = F.grid_sample(parts, grid.flatten(1, 2), align_corners=False)
    read = read.reshape(n, offset_group, -1, taps, rows, columns)
    if mask is not None:
        read = read * mask.reshape(n, offset_group, 1, taps, rows, columns)
    read = read.reshape(n, group, -1, rows * columns)  # (N, group, C / group taps, oh ow)
    kernels = w.reshape(group, -1, read.shape[2])  # (group, out / group, C / group taps)
    y = (kernels @ read).reshape(n, -1, rows, columns)
    return y if b is None else y + b.reshape(-1, 1, 1)


def _tap_positions(
    w: Tensor,
    rows: int,
    columns: int,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    strides: Sequence[int] | None,
) -> Tensor:
    """Where each tap reads without an offset: (taps, 2, rows, columns), as (y, x)."""
    begins, steps, spread = (pads or [0, 0])[:2], strides or [1, 1], dilations or [1, 1]
    axes = []
    for axis, count in enumerate((rows, columns)):
        taps = torch.arange(w.shape[axis + 2]) * spread[axis] - begins[axis]
        axes.append(taps[:, None] + torch.arange(count) * steps[axis])  # (k, count)
    ys, xs = axes
    kh, kw = len(ys), len(xs)
    y = ys[:, None, :, None].expand(kh, kw, rows, columns)
    x = xs[None, :, None, :].expand(kh, kw, rows, columns)
    return torch.stack((y, x), 2).flatten(0, 1)


@op("Col2Im", since=18, host=("image_shape", "block_shape"))
def col2im(
    x: Tensor,
    image_shape: Tensor | Sequence[int],
    block_shape: Tensor | Sequence[int],
    *,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """Col2Im-18: columns (N, C taps, places) added up into an image (N, C, *image_shape)."""
    image, block = ints(image_shape), ints(block_shape)
    rank = len(image)
    spread, steps = dilations or [1] * rank, strides or [1] * rank
    begins, ends = (pads or [0] * 2 * rank)[:rank], (pads or [0] * 2 * rank)[rank:]
    padded = [n + a + b for n, a, b in zip(image, begins, ends, strict=True)]
    index = torch.zeros([1] * 2 * rank, dtype=torch.int64, device=x.device)
    for d in range(rank):  # axes of the index: taps of each axis, then places of each axis
        places = (padded[d] - spread[d] * (block[d] - 1) - 1) // steps[d] + 1
        taps = torch.arange(block[d], device=x.device) * spread[d]
        where = taps[:, None] + torch.arange(places, device=x.device) * steps[d]
        shape = [1] * 2 * rank
        shape[d], shape[rank + d] = where.shape
        index = index * padded[d] + where.reshape(shape)
    count = math.prod(block)
    columns = x.reshape(x.shape[0], x.shape[1] // count, -1)
    sums = columns.new_zeros(*columns.shape[:2], math.prod(padded))
    sums = sums.index_add(2, index.reshape(-1), columns).reshape(*columns.shape[:2], *padded)
    for d, (begin, size) in enumerate(zip(begins, image, strict=True)):
        sums = sums.narrow(d + 2, begin, size)
    return sums


@op("MaxUnpool", since=9, host=("output_shape",))
def max_unpool(
    x: Tensor,
    indices: Tensor,
    output_shape: Tensor | Sequence[int] | None = None,
    *,
    kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """MaxUnpool-22: values back at the flat indices that MaxPool gave, zeros elsewhere."""
    rank = len(kernel_shape)
    steps, around = strides or [1] * rank, pads or [0] * 2 * rank
    sizes = [
        (x.shape[d + 2] - 1) * steps[d] - around[d] - around[rank + d] + kernel_shape[d]
        for d in range(rank)
    ]
    flat = x.new_zeros(x.shape[0] * x.shape[1] * math.prod(sizes))
    flat = flat.scatter(0, indices.reshape(-1), x.reshape(-1))
    y = flat.reshape(*x.shape[:2], *sizes)
    if output_shape is None:
        return y
    wanted = ints(output_shape)[2:]
    missing = [n - m for n, m in zip(wanted, sizes, strict=True)]
    return F.pad(y, list(itertools.chain.from_iterable((0, n) for n in reversed(missing))))
