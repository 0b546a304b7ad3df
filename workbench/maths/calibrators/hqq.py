"""HQQ (Badri and Shaji 2023, half-quadratic quantization): robust ranges without any data.

    min over s, z of ‖W - s (Q - z)‖_p^p,   p = 0.7,   Q = clip(round(W / s) + z)

With E for the error, half of the problem is quadratic. In units of the step, x = W / s,

    E ← shrink(x - (Q - z), β),   shrink(e, β) = sign(e) max(|e| - |e|^(p-1) / β, 0)
    z ← mean(Q - (x - E)),        β ← κ β

for 20 rounds with β = 10 and κ = 1.01, as in the paper; large errors move into E, and the range is
fitted to the rest. The paper's zero-point is a fraction and its scale stays. ONNX's zero-point is a
code: it is rounded, and the scale is fitted too, s ← ⟨W - s E, Q - z⟩ / ‖Q - z‖². On symmetric
grids z is fixed and the scale is all there is. The paper's code counts errors in the weight's own
unit, so that its β means another thing for each layer; here the unit is the step. Of all rounds the
range with the least error is kept, min-max among them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.maths.calibrators.base import Range, Samples, by_row, covered
from workbench.maths.calibrators.registry import calibrator
from workbench.maths.grid import Grid, affine_range, fake_quantize

POWER = 0.7
STRENGTH = 10.0
GROWTH = 1.01
ROUNDS = 20
SMALLEST = 1e-30


@calibrator(
    "hqq",
    title="Half-quadratic range (HQQ)",
    citation="Badri and Shaji 2023, Half-Quadratic Quantization, mobiusml.github.io/hqq_blog",
    serves=("weights",),
    data="none",
    cost="seconds",
    cells=("range/tensor_error", "range/regulariser"),
    strategy="reconstruction",
    use="weights with outliers, in groups or channels, where there is no data",
)
def hqq(samples: Samples, grid: Grid) -> Range:
    """Fits the range to the bulk of the weights; a few large errors count for little."""
    x, rows = samples.values, by_row(grid)
    scale, zero = affine_range(*samples.extremes(), grid)
    best, kept = _error(x, scale, zero, rows), (scale, zero)
    for turn in range(ROUNDS):
        scale, zero = _fitted(x, scale, zero, rows, STRENGTH * GROWTH**turn)
        error = _error(x, scale, zero, rows)
        better = error < best
        best = torch.where(better, error, best)
        kept = torch.where(better, scale, kept[0]), torch.where(better, zero, kept[1])
    return covered(*kept, grid)


def shrink(error: Tensor, strength: float) -> Tensor:
    """The minimiser over E of |E|^p + β/2 (E - error)², as the paper approximates it.

    Example:
        >>> shrink(torch.tensor([0.1, 0.5]), 10.0)
        tensor([0.0000, 0.3769])
    """
    size = error.abs()
    return error.sign() * (size - size.clamp(min=SMALLEST) ** (POWER - 1) / strength).clamp(min=0)


def _fitted(
    x: Tensor, scale: Tensor, zero: Tensor, grid: Grid, strength: float
) -> tuple[Tensor, Tensor]:
    """Scale and zero-point after one round."""
    steps = x / scale[:, None]
    points = fake_quantize(steps, torch.ones_like(scale), zero, grid)
    target = steps - shrink(steps - points, strength)
    if not grid.symmetric:
        moved = (zero + (points - target).mean(1)).round().clamp(grid.qmin, grid.qmax)
        points, zero = points + (zero - moved)[:, None], moved
    size = points.square().sum(1)
    factor = (target * points).sum(1) / size.clamp(min=SMALLEST)
    return torch.where(factor > 0, scale * factor, scale), zero


def _error(x: Tensor, scale: Tensor, zero: Tensor, grid: Grid) -> Tensor:
    """Σ |w - ŵ|^p of each row."""
    return (fake_quantize(x, scale, zero, grid) - x).abs().pow(POWER).sum(dim=1)
