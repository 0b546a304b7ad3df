"""Gram space: for a linear layer the output error is exactly a quadratic form of the weights.

With inputs x_q (from the already quantized prefix) and x (float), a row w of the float weight and
its quantized version ŵ, the mean squared output error over the calibration rows is

    E |w·x - ŵ·x_q|² = (ŵ - t) H (ŵ - t)ᵀ + const,   H = E x_q x_qᵀ,   C = E x x_qᵀ
    t = (w C + λ w)(H + λ I)⁻¹                        the compensated target (ridge towards w)

so that after H, C and the means have been gathered in one pass, rounding costs nothing per image.
Where the layer has a bias both moments are centred, and the best bias follows in closed form:

    b̂ = b + w·E x - ŵ·E x_q

The rounding is then a closest-vector problem, min over codes q of (s q - t) H (s q - t)ᵀ, met by a
scale search weighted with H and by coordinate descent over the codes: the exact minimum over one
code with the others fixed is round(ŵ_j - g_j / H_jj) with the gradient g = (ŵ - t) H. On a table of
levels the same holds with the nearest level in place of the nearest integer; inside this file a
"point" is what is multiplied by the scale: q of a uniform grid, L[q] of a table.
Relatives: GPTQ (arXiv:2210.17323), OBQ (arXiv:2208.11580), COMQ (arXiv:2403.07134).

Shapes: G groups of a convolution (1 otherwise), O rows (output channels) in each, K inputs,
B scales along K (1 unless weights are quantized group-wise).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.maths.grid import Grid, affine_range
from workbench.maths.levels import nearest_level

RATIOS = 48
SMALLEST_RATIO = 0.25
BLOCK = 32
#: a descent ends with the sweep that moves no more than this share of the codes
SETTLED = 1e-4


class Moments:
    """Streaming first and second moments of a layer's inputs; memory does not grow with the data.

    Attributes:
        second: (G, K, K) float64, sum of x_q x_qᵀ; cross: sum of x x_qᵀ.
        sum_float, sum_quantized: (G, K); count: rows seen.
    """

    def __init__(self, groups: int, inputs: int) -> None:
        self.second = torch.zeros(groups, inputs, inputs, dtype=torch.float64)
        self.cross = torch.zeros_like(self.second)
        self.sum_float = torch.zeros(groups, inputs, dtype=torch.float64)
        self.sum_quantized = torch.zeros_like(self.sum_float)
        self.count = 0

    @torch.no_grad()
    def add(self, quantized: Tensor, floats: Tensor | None = None) -> None:
        """Add rows of shape (G, N, K); `floats` None says that both inputs are the same."""
        second = (quantized.mT @ quantized).double()
        same = floats is None or floats is quantized
        self.second += second
        self.cross += second if same else (floats.mT @ quantized).double()  # type: ignore[union-attr]
        total = quantized.sum(dim=1).double()
        self.sum_quantized += total
        self.sum_float += total if same else floats.sum(dim=1).double()  # type: ignore[union-attr]
        self.count += quantized.shape[1]


@dataclass(frozen=True)
class Problem:
    """One layer's rounding problem: bring rows near `target` in the norm of `hessian`.

    Attributes:
        target: (G, O, K) compensated weights; hessian: (G, K, K), damped.
    """

    target: Tensor
    hessian: Tensor

    def error(self, rounded: Tensor) -> Tensor:
        """(G, O) mean squared output error of each row, up to the constant."""
        gap = rounded - self.target
        return ((gap @ self.hessian) * gap).sum(-1)


def pose(weight: Tensor, moments: Moments, *, centred: bool, damping: float) -> Problem:
    """The rounding problem of `weight` (G, O, K).

    Args:
        centred: True where a bias takes up the mean error.
        damping: ridge as a share of the mean diagonal of H; grows with K / rows, because moments of
            few rows leave directions in which anything seems free.
    """
    count = max(1, moments.count)
    second, cross = moments.second / count, moments.cross / count
    if centred:
        mean, mean_float = moments.sum_quantized / count, moments.sum_float / count
        second = second - mean[:, :, None] * mean[:, None, :]
        cross = cross - mean_float[:, :, None] * mean[:, None, :]
    size = second.shape[-1]
    diagonal = second.diagonal(dim1=1, dim2=2)
    average = diagonal.mean(-1, keepdim=True).clamp(min=1e-12)
    ridge = damping * (1.0 + size / count) * average
    hessian = second + torch.diag_embed(ridge.expand_as(diagonal) + 1e-9 * average)
    wide = weight.double()
    goal = wide @ (cross + torch.diag_embed(ridge.expand_as(diagonal) + 1e-9 * average))
    target = torch.linalg.solve(hessian, goal, left=False)
    return Problem(target.float(), hessian.float())


@dataclass(frozen=True)
class Points:
    """The points of a grid, to snap to; `levels` is None for a uniform one."""

    grid: Grid
    levels: Tensor | None = None

    def snap(self, x: Tensor, zero_point: Tensor | float = 0.0) -> Tensor:
        """The nearest point to each value; changes `x` in place on a uniform grid."""
        if self.levels is not None:
            return self.levels[nearest_level(x, self.levels)]
        return x.round_().add_(zero_point).clamp_(self.grid.qmin, self.grid.qmax)

    def codes(self, points: Tensor) -> Tensor:
        """The codes of points, as floats."""
        if self.levels is None:
            return points
        return nearest_level(points, self.levels).to(points.dtype)


def search_scale(
    problem: Problem, points: Points, blocks: int, *, shared: bool
) -> tuple[Tensor, Tensor]:
    """Scale and zero-point (G, O, B) with the least H-weighted error of nearest rounding.

    Args:
        points: of the grid.
        blocks: scales along K; each sees its own diagonal block of H.
        shared: one scale for all rows (per tensor).
    """
    target, hessian = _blocked(problem, blocks)
    low, high = target.amin(-1), target.amax(-1)
    if shared:
        low, high = low.min().expand_as(low), high.max().expand_as(high)
    best = torch.full_like(low, torch.inf)
    scale, zero_point = affine_range(low, high, points.grid)
    for ratio in torch.linspace(1.0, SMALLEST_RATIO, RATIOS):
        trial, zero = affine_range(low * ratio, high * ratio, points.grid)
        gap = _nearest(target, trial[..., None], zero[..., None], points) - target
        error = (
            torch.einsum("gobk,gbkl,gobl->gob", gap, hessian, gap)
            if blocks > 1
            else (((gap[:, :, 0] @ hessian[:, 0]) * gap[:, :, 0]).sum(-1)[..., None])
        )
        error = error.sum().expand_as(error) if shared else error
        better = error < best
        best = torch.where(better, error, best)
        scale = torch.where(better, trial, scale)
        zero_point = torch.where(better, zero, zero_point)
    return scale, zero_point


def expand(parameter: Tensor, inputs: int) -> Tensor:
    """(G, O, B) scales as (G, O, K)."""
    size = -(-inputs // parameter.shape[-1])
    return parameter.repeat_interleave(size, dim=-1)[..., :inputs]


def nearest(problem: Problem, scale: Tensor, zero_point: Tensor, points: Points) -> Tensor:
    """Points (G, O, K) nearest to the target."""
    size = problem.target.shape[-1]
    return points.snap(problem.target / expand(scale, size), expand(zero_point, size))


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
        for tensor in (start, problem.target, expand(scale, size), expand(zero_point, size))
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


def refit_scale(problem: Problem, codes: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """Least-squares scale (G, O, 1) for fixed codes, s = q H tᵀ / q H qᵀ; B must be 1."""
    offset = codes - expand(zero_point, codes.shape[-1])
    weighted = offset @ problem.hessian
    top, bottom = (weighted * problem.target).sum(-1), (weighted * offset).sum(-1)
    fitted = (top / bottom.clamp(min=1e-20))[..., None]
    return torch.where(fitted > 0.2 * scale, fitted, scale)


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
    problem: Problem,
    grid: Grid,
    levels: Tensor | None = None,
    *,
    blocks: int,
    shared: bool,
    sweeps: int,
    refits: int,
) -> Solution:
    """Scale search, then descents over the codes with scale refits between them.

    Args:
        levels: of a grid with a table.
        blocks, shared: see `search_scale`.
    """
    size = problem.target.shape[-1]
    points = Points(grid, levels)
    scale, zero_point = search_scale(problem, points, blocks, shared=shared)
    start = nearest(problem, scale, zero_point, points)
    first = problem.error(_values(start, scale, zero_point, size))
    found = start
    for refit in range(refits + 1):
        found = coordinate_descent(problem, found, scale, zero_point, points, sweeps)
        if refit < refits and blocks == 1 and not shared and sweeps:
            scale = refit_scale(problem, found, scale, zero_point)
    return Solution(points.codes(found), scale, zero_point, points.codes(start), first)


def corrected_bias(weight: Tensor, rounded: Tensor, moments: Moments) -> Tensor:
    """(G, O) to add to the bias: w·E x - ŵ·E x_q."""
    mean, mean_float = moments.sum_quantized / moments.count, moments.sum_float / moments.count
    return (
        torch.einsum("gok,gk->go", weight.double(), mean_float)
        - torch.einsum("gok,gk->go", rounded.double(), mean)
    ).float()


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
    before, local = codes[:, block].clone(), gradient[:, block].clone()
    s = step[:, block]
    for j in range(local.shape[1]):
        code = codes[:, block][:, j]
        newton = local[:, j] / (inner[:, j, j, None] * s[:, j])
        fresh = points.snap(code - newton)
        change = (fresh - code).mul_(s[:, j])
        code.copy_(fresh)
        local[:, j + 1 :].addcmul_(inner[:, j, j + 1 :, None], change[:, None, :])
    change = codes[:, block] - before
    gradient += hessian[:, :, block] @ (change * s)
    return int(change.count_nonzero())


def _nearest(x: Tensor, scale: Tensor, zero_point: Tensor, points: Points) -> Tensor:
    return (points.snap(x / scale, zero_point) - zero_point) * scale


def _values(codes: Tensor, scale: Tensor, zero_point: Tensor, size: int) -> Tensor:
    return (codes - expand(zero_point, size)) * expand(scale, size)


def _blocked(problem: Problem, blocks: int) -> tuple[Tensor, Tensor]:
    """Target (G, O, B, size) and the diagonal blocks (G, B, size, size) of H; ends zero-padded."""
    groups, rows, inputs = problem.target.shape
    size = -(-inputs // blocks)
    short = size * blocks - inputs
    target = torch.nn.functional.pad(problem.target, (0, short))
    hessian = torch.nn.functional.pad(problem.hessian, (0, short, 0, short))
    square = hessian.reshape(groups, blocks, size, blocks, size)
    diagonal = square.diagonal(dim1=1, dim2=3).movedim(-1, 1)
    return target.reshape(groups, rows, blocks, size), diagonal
