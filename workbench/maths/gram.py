"""Gram space: for a linear layer the output error is exactly a quadratic form of the weights.

The rounding problem of `workbench.maths.moments` is a closest-vector problem, min over codes q of
(s q - t) H (s q - t)ᵀ, met by a scale search weighted with H and by coordinate descent over the
codes: the exact minimum over one code with the others fixed is round(ŵ_j - g_j / H_jj) with the
gradient g = (ŵ - t) H. On a table of levels the same holds with the nearest level in place of the
nearest integer; inside this file a "point" is what is multiplied by the scale: q of a uniform grid,
L[q] of a table.
Relatives: GPTQ (arXiv:2210.17323), OBQ (arXiv:2208.11580), COMQ (arXiv:2403.07134).

Shapes: G groups of a convolution (1 otherwise), O rows (output channels) in each, K inputs,
B scales along K (1 unless weights are quantized group-wise).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from workbench.maths.closest import closest
from workbench.maths.grid import Grid, affine_range
from workbench.maths.levels import nearest_level
from workbench.maths.moments import Problem

#: ratios to the full range that every row tries, then steps around the best of them
COARSE = torch.linspace(1.0, 0.25, 16)
FINE = torch.tensor([-0.0375, -0.025, -0.0125, 0.0125, 0.025, 0.0375])
BLOCK = 32
#: a descent ends with the sweep that moves no more than this share of the codes
SETTLED = 1e-4
#: kernels of up to so many inputs are searched, with lists of so many partial rows
SMALL = 32
SHORT_LIST, LONG_LIST = 8, 16
#: scales around the best one of nearest rounding that a search tries
STRETCHES = (0.85, 0.92, 1.0, 1.08, 1.16)


@dataclass(frozen=True)
class Points:
    """The points of a grid, to snap to; `levels` is None for a uniform one."""

    grid: Grid
    levels: Tensor | None = None

    def snap(self, x: Tensor, zero_point: Tensor | float = 0.0) -> Tensor:
        """The nearest point to each value; changes `x` in place on a uniform grid."""
        if self.levels is not None:
            return self.levels[nearest_level(x, self.levels)]
        return x.round_().add_(zero_point).clamp_(*self.ends)

    @cached_property
    def ends(self) -> tuple[int, int]:
        """The lowest and the highest code."""
        return self.grid.qmin, self.grid.qmax

    def codes(self, points: Tensor) -> Tensor:
        """The codes of points, as floats."""
        if self.levels is None:
            return points
        return nearest_level(points, self.levels).to(points.dtype)

    def group(self, inputs: int) -> int:
        """How many of K inputs share a scale; the last of several groups may be shorter."""
        kind, size = self.grid.granularity.kind, self.grid.granularity.size
        return size if kind == "group" and size < inputs else inputs

    def expand(self, parameter: Tensor, inputs: int) -> Tensor:
        """(G, O, B) scales as (G, O, K)."""
        return parameter.repeat_interleave(self.group(inputs), dim=-1)[..., :inputs]


def search_scale(problem: Problem, points: Points) -> tuple[Tensor, Tensor]:
    """Scale and zero-point (G, O, B) with the least H-weighted error of nearest rounding.

    Each group of a row sees its own diagonal block of H; per tensor all rows count together.
    """
    target, hessian = _blocked(problem, points.group(problem.target.shape[-1]))
    low, high = target.amin(-1), target.amax(-1)
    if points.grid.per_tensor:
        low, high = low.min().expand_as(low), high.max().expand_as(high)
    ratio, best = torch.ones_like(low), torch.full_like(low, torch.inf)
    for offsets in (COARSE - 1.0, FINE):
        centre = ratio
        for offset in offsets:
            trial = centre + offset
            scale, zero = affine_range(low * trial, high * trial, points.grid)
            error = _rounding_error(target, hessian, scale, zero, points)
            better = error < best
            best, ratio = torch.where(better, error, best), torch.where(better, trial, ratio)
    return affine_range(low * ratio, high * ratio, points.grid)


def _rounding_error(
    target: Tensor, hessian: Tensor, scale: Tensor, zero_point: Tensor, points: Points
) -> Tensor:
    """(G, O, B) H-weighted error of nearest rounding; per tensor the sum of all, everywhere."""
    gap = _nearest(target, scale[..., None], zero_point[..., None], points) - target
    rows = gap.transpose(1, 2)  # (G, B, O, size)
    error = ((rows @ hessian) * rows).sum(-1).transpose(1, 2)
    return error.sum().expand_as(error) if points.grid.per_tensor else error


def nearest(problem: Problem, scale: Tensor, zero_point: Tensor, points: Points) -> Tensor:
    """Points (G, O, K) nearest to the target."""
    size = problem.target.shape[-1]
    steps, zeros = points.expand(scale, size), points.expand(zero_point, size)
    return points.snap(problem.target / steps, zeros)


def values(codes: Tensor, scale: Tensor, zero_point: Tensor, points: Points) -> Tensor:
    """What points (G, O, K) stand for."""
    size = codes.shape[-1]
    return (codes - points.expand(zero_point, size)) * points.expand(scale, size)


def coordinate_descent(
    problem: Problem,
    start: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    points: Points,
    sweeps: int,
) -> Tensor:
    """Points (G, O, K) after exact one-code minimisations, in blocks of columns as in GPTQ.

    The error never rises. A sweep visits columns in the order of falling H_jj; the last one is that
    in which hardly a code moved.
    """
    size = problem.target.shape[-1]
    order = problem.hessian.diagonal(dim1=1, dim2=2).mean(0).argsort(descending=True)
    hessian = problem.hessian[:, order][:, :, order]
    # columns of the weight become contiguous rows: (G, K, O)
    codes, target, step, zero = (
        tensor[..., order].mT.contiguous()
        for tensor in (
            start,
            problem.target,
            points.expand(scale, size),
            points.expand(zero_point, size),
        )
    )
    gradient = hessian @ ((codes - zero) * step - target)
    for _ in range(sweeps):
        moved = 0
        for first in range(0, size, BLOCK):
            block = slice(first, min(first + BLOCK, size))
            moved += _descend(codes, gradient, hessian, step, points, block)
        if moved <= SETTLED * codes.numel():
            break
    return torch.empty_like(codes).index_copy_(1, order, codes).mT.contiguous()


def refit_scale(
    problem: Problem, codes: Tensor, scale: Tensor, zero_point: Tensor, points: Points
) -> Tensor:
    """Least-squares scales (G, O, B) for fixed codes, those of a row's groups solved together.

    With z_b the part of (q - z) in group b, Σ_c s_c z_b H z_cᵀ = z_b H tᵀ for all b.
    """
    size = points.group(codes.shape[-1])
    offset = codes - points.expand(zero_point, codes.shape[-1])
    pulled = _grouped(offset * (problem.target @ problem.hessian), size).sum(-1)
    parts = zip(offset.split(size, -1), problem.hessian.split(size, 1), strict=True)
    products = torch.stack(
        [_grouped(part @ rows * offset, size).sum(-1) for part, rows in parts], dim=-1
    )  # (G, O, B, B)
    if points.grid.per_tensor:
        pulled, products = pulled.sum().expand_as(pulled), products.sum().expand_as(products)
    diagonal = products.diagonal(dim1=-2, dim2=-1)
    ridge = 1e-6 * diagonal.mean(-1, keepdim=True) + 1e-20
    system = products + torch.diag_embed(ridge.expand_as(diagonal))
    fitted = torch.linalg.solve(system, pulled + ridge * scale)
    return torch.where((fitted > 0.2 * scale).all(-1, keepdim=True), fitted, scale)


def _grouped(x: Tensor, size: int) -> Tensor:
    """(G, O, K) as (G, O, B, size), the last group padded with zeros."""
    return torch.nn.functional.pad(x, (0, -x.shape[-1] % size)).unflatten(-1, (-1, size))


@dataclass(frozen=True)
class Solution:
    """Codes (G, O, K) with their scale and zero-point (G, O, B).

    `start` and `first` are the codes and the row errors of nearest rounding, for comparison.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor
    start: Tensor
    first: Tensor


def solve(
    problem: Problem, grid: Grid, levels: Tensor | None = None, *, sweeps: int, refits: int
) -> Solution:
    """Scale search, then descents over the codes with scale refits between them.

    Kernels of few inputs, with a scale for each row, are searched instead of descended.

    Args:
        problem: of one layer.
        grid: of its weight.
        levels: of a grid with a table.
        sweeps: visits to each code, 0 for nearest rounding.
        refits: how often the scale follows the codes.
    """
    points = Points(grid, levels)
    scale, zero_point = search_scale(problem, points)
    start = nearest(problem, scale, zero_point, points)
    first = problem.error(values(start, scale, zero_point, points))
    found = start
    inputs = problem.target.shape[-1]
    one_per_row = points.group(inputs) == inputs and not grid.per_tensor
    if sweeps and one_per_row and levels is None and inputs <= SMALL:
        found, scale = _searched(problem, scale, zero_point, grid, refits)
    elif sweeps:
        for refit in range(refits + 1):
            found = coordinate_descent(problem, found, scale, zero_point, points, sweeps)
            if refit < refits:
                scale = refit_scale(problem, found, scale, zero_point, points)
    return Solution(points.codes(found), scale, zero_point, points.codes(start), first)


def _searched(
    problem: Problem, scale: Tensor, zero_point: Tensor, grid: Grid, refits: int
) -> tuple[Tensor, Tensor]:
    """Codes (G, O, K) and scale (G, O, 1) of the closest points over several scales."""
    width = LONG_LIST if 2 * problem.target.shape[-1] <= SMALL else SHORT_LIST
    scales = torch.stack([scale[..., 0] * stretch for stretch in STRETCHES])
    zeros = zero_point[None, ..., 0].expand_as(scales)
    every, errors, _ = closest(problem, scales, zeros, grid, width)
    best = errors.argmin(0, keepdim=True)
    codes, error = every.take_along_dim(best[..., None], 0)[0], errors.amin(0)
    scale = scales.take_along_dim(best, 0)[0][..., None]
    for _ in range(refits):
        fitted = refit_scale(problem, codes, scale, zero_point, Points(grid))
        (again,), (after,), _ = closest(problem, fitted[None, ..., 0], zeros[:1], grid, width)
        better = (after < error)[..., None]
        codes, scale = torch.where(better, again, codes), torch.where(better, fitted, scale)
        error = torch.minimum(after, error)
    return codes, scale


def _descend(
    codes: Tensor,
    gradient: Tensor,
    hessian: Tensor,
    step: Tensor,
    points: Points,
    block: slice,
) -> int:
    """One visit to each column of a block, then the whole gradient; returns how many codes moved.

    All tensors (G, K, O) but `hessian` (G, K, K); `codes` and `gradient` are changed in place.
    """
    inner = hessian[:, block, block]
    visited, local, s = codes[:, block], gradient[:, block].clone(), step[:, block]
    before = visited.clone()
    rate = (inner.diagonal(dim1=1, dim2=2)[..., None] * s).reciprocal_()
    columns = zip(*(part.unbind(1) for part in (visited, local, rate, s)), strict=True)
    for j, (code, slope, r, width) in enumerate(columns):
        fresh = points.snap(torch.addcmul(code, slope, r, value=-1.0))
        change = fresh.sub(code).mul_(width)
        code.copy_(fresh)
        local[:, j + 1 :].addcmul_(inner[:, j, j + 1 :, None], change[:, None])
    change = visited - before
    gradient += hessian[:, :, block] @ (change * s)
    return int(change.count_nonzero())


def _nearest(x: Tensor, scale: Tensor, zero_point: Tensor, points: Points) -> Tensor:
    return (points.snap(x / scale, zero_point) - zero_point) * scale


def _blocked(problem: Problem, size: int) -> tuple[Tensor, Tensor]:
    """Target (G, O, B, size) and the diagonal blocks (G, B, size, size) of H; ends zero-padded."""
    groups, _, inputs = problem.target.shape
    blocks = -(-inputs // size)
    if blocks == 1:
        return problem.target[:, :, None], problem.hessian[:, None]
    short = size * blocks - inputs
    hessian = torch.nn.functional.pad(problem.hessian, (0, short, 0, short))
    square = hessian.reshape(groups, blocks, size, blocks, size)
    diagonal = square.diagonal(dim1=1, dim2=3).movedim(-1, 1)
    return _grouped(problem.target, size), diagonal
