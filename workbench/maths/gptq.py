"""GPTQ: columns are rounded one after the other, and what is left corrects the error of each.

    U = cholesky(H⁻¹), upper;   for each column j in order:
        q_j = nearest(w_j),  e = (w_j - q_j) / U_jj,  w_i ← w_i - e U_ji for i > j

so the remaining weights always are the best ones for the codes chosen so far (Frantar et al. 2023,
arXiv:2210.17323). Columns are taken in blocks; what a block does to later ones is one product.

Shapes: G groups of a convolution (1 otherwise), O rows in each, K inputs, B scales along K.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workbench.foundation.errors import RecipeError
from workbench.maths.gram import Points
from workbench.maths.moments import Moments, Problem

#: scale and zero-point (G, O, 1) of the columns (G, O, n) of a group, as they are when reached
Fit = Callable[[Tensor], tuple[Tensor, Tensor]]


def pose_as_paper(weight: Tensor, moments: Moments, damping: float) -> Problem:
    """The problem of `weight` (G, O, K) as GPTQ sets it: no compensation, H + λ mean(diag H) I.

    Inputs that are always zero get H_jj = 1 and weights of zero.
    """
    hessian = moments.second / max(1, moments.count)
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    dead = diagonal <= 0
    diagonal.masked_fill_(dead, 1.0)
    diagonal += damping * diagonal.mean(-1, keepdim=True)
    target = weight.masked_fill(dead[:, None], 0.0)
    return Problem(target, hessian.float())


def inverse_factor(hessian: Tensor) -> Tensor:
    """U (G, K, K), upper triangular, with H⁻¹ = UᵀU; in float64.

    Raises:
        RecipeError: the hessian is singular.
    """
    wide = hessian.double()
    try:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(wide))
        return torch.linalg.cholesky(inverse, upper=True)
    except torch.linalg.LinAlgError:
        raise RecipeError(
            "the second moments of a layer's inputs are singular; give a larger 'damping'"
        ) from None


def round_columns(
    problem: Problem,
    points: Points,
    scale: Tensor,
    zero_point: Tensor,
    *,
    order: Tensor | None = None,
    block: int = 128,
    refit: Fit | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Points (G, O, K) of the grid, with the scale and zero-point (G, O, B) that they belong to.

    Args:
        problem: with a hessian that is positive definite.
        points: of the grid.
        scale, zero_point: (G, O, B).
        order: (K,) in which columns are rounded; by default as they lie.
        block: columns between two updates of all later ones.
        refit: gives each group's scale from its columns when its first one is reached; columns must
            lie in order.
    """
    size = problem.target.shape[-1]
    order = torch.arange(size) if order is None else order
    factor = inverse_factor(problem.hessian[:, order][:, :, order]).float()
    rest = problem.target[..., order].mT.contiguous()  # (G, K, O), columns of the weight as rows
    step, zero = (points.expand(p, size)[..., order].mT.contiguous() for p in (scale, zero_point))
    group = points.group(size)
    found = torch.empty_like(rest)
    for first in range(0, size, block):
        last = min(first + block, size)
        errors = rest.new_empty(rest.shape[0], last - first, rest.shape[2])
        for j in range(first, last):
            if refit is not None and j % group == 0:
                part = slice(j, min(j + group, size))
                current = _settled(rest, errors[:, : j - first], factor, first, part, last)
                s, z = refit(current.mT)
                step[:, part], zero[:, part] = s.mT, z.mT
            found[:, j] = points.snap(rest[:, j] / step[:, j], zero[:, j])
            value = (found[:, j] - zero[:, j]) * step[:, j]
            error = (rest[:, j] - value) / factor[:, j, j, None]
            errors[:, j - first] = error
            rest[:, j + 1 : last] -= factor[:, j, j + 1 : last, None] * error[:, None]
        rest[:, last:] -= factor[:, first:last, last:].mT @ errors
    codes = torch.empty_like(found).index_copy_(1, order, found).mT.contiguous()
    if refit is None:
        return codes, scale, zero_point
    return codes, step[:, ::group].mT.contiguous(), zero[:, ::group].mT.contiguous()


def _settled(
    rest: Tensor, errors: Tensor, factor: Tensor, first: int, part: slice, last: int
) -> Tensor:
    """Columns `part` as the errors so far leave them, also those beyond the block's end."""
    current = rest[:, part].clone()
    if part.stop > last:
        beyond = slice(last, part.stop)
        done = slice(first, first + errors.shape[1])
        current[:, last - part.start :] -= factor[:, done, beyond].mT @ errors
    return current
