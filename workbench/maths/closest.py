"""The closest point of a lattice to a row, for kernels so small that hardly anything is left out.

With H = RᵀR, R upper triangular, the error of codes q splits into one term for each input:

    (s q - t) H (s q - t)ᵀ = Σ_j R_jj² (s q_j - c_j)²
    c_j = t_j - Σ_{i>j} R_ji / R_jj (s q_i - t_i)

so codes can be decided from the last to the first, as a decoder of many antennas does (K-best
sphere decoding, Agrell et al. 2002; with a list of one it is GPTQ, as Chen et al. 2025 showed,
arXiv:2507.18553). At each step the best `width` partial rows stay, extended by the codes nearest to
c_j. A row whose discarded parts were all worse than the row that was found is solved exactly.

Shapes: G groups, O rows in each, K inputs, S scales tried, W partial rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.maths.grid import Grid
from workbench.maths.moments import Problem

#: codes that a partial row is extended by
NEAREST = 4


def closest(
    problem: Problem, scale: Tensor, zero_point: Tensor, grid: Grid, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The best codes found for each row and scale.

    Args:
        problem: of small K; the work grows with K².
        scale: (S, G, O); zero_point: the same shape.
        grid: uniform.
        width: W.

    Returns:
        Codes (S, G, O, K), their error (S, G, O), and whether each is proved to be the least.
    """
    factor, order = _factor(problem.hessian)
    inputs = problem.hessian.shape[-1]
    target = problem.target.take_along_dim(order[:, None], -1)[None, :, :, None]  # (1, G, O, 1, K)
    step, zero = scale[..., None], zero_point[..., None]
    gaps = target.new_zeros(*scale.shape, 1, inputs)
    error = target.new_zeros(*scale.shape, 1)
    lost = torch.full_like(scale, torch.inf)
    for j in reversed(range(inputs)):
        row, weight = factor[:, j], factor[:, j, j].square()
        known = (gaps[..., j + 1 :] @ row[:, None, j + 1 :, None]).squeeze(-1)
        centre = target[..., j] - known / row[:, j, None, None]  # (S, G, O, W)
        points, left_out = _candidates(centre / step + zero, grid)
        value = (points - zero[..., None]) * step[..., None]
        cost = weight[:, None, None, None] * (value - centre[..., None]).square()
        beyond = weight[:, None, None] * (left_out * step).square() + error
        grown = (error[..., None] + cost).flatten(-2)
        error, kept, dropped = _best(grown, width)
        lost = torch.minimum(lost, torch.minimum(beyond.amin(-1), dropped))
        parent = (kept // points.shape[-1])[..., None].expand(*kept.shape, inputs)
        gaps = gaps.take_along_dim(parent, -2)
        gaps[..., j] = value.flatten(-2).take_along_dim(kept, -1) - target[..., j]
    value = gaps[..., 0, :] + target[..., 0, :]
    back = order.argsort(-1)[:, None].expand(value.shape[1:])
    codes = (value / step + zero).round().take_along_dim(back[None], -1)
    return codes.clamp(grid.qmin, grid.qmax), error[..., 0], lost >= error[..., 0]


def _factor(hessian: Tensor) -> tuple[Tensor, Tensor]:
    """(G, K, K) upper factors R of the reordered H, and the order (G, K): heavy inputs last."""
    order = hessian.diagonal(dim1=1, dim2=2).argsort(-1)
    moved = hessian.take_along_dim(order[:, :, None], 1).take_along_dim(order[:, None], 2)
    factor = torch.linalg.cholesky(moved.double(), upper=True)
    return factor.float(), order


def _candidates(position: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The codes nearest to `position` (..., W, E), and how far the nearest code left out is."""
    count = min(NEAREST, grid.qmax - grid.qmin + 1)
    first = (position - (count - 1) / 2).round().clamp(grid.qmin, grid.qmax - count + 1)
    points = first[..., None] + torch.arange(count, dtype=position.dtype)
    below = torch.where(first > grid.qmin, (position - first + 1).abs(), torch.inf)
    above = torch.where(first + count <= grid.qmax, (first + count - position).abs(), torch.inf)
    return points, torch.minimum(below, above)


def _best(error: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The least `width` errors in order, where they were, and the least that is dropped."""
    if error.shape[-1] <= width:
        found, kept = error.sort(-1)
        return found, kept, found.new_full(found.shape[:-1], torch.inf)
    found, kept = error.topk(width + 1, dim=-1, largest=False, sorted=True)
    return found[..., :-1], kept[..., :-1], found[..., -1]
