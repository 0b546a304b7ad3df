"""Exact numbers for a weight on another grid, where the browser only knows its histogram."""

from __future__ import annotations

import math

from torch import Tensor

from workbench.maths.grid import Grid, fake_quantize, quantize
from workbench.maths.metrics import sqnr_db
from workbench.quantizers.base import Frozen


def measure(
    weight: Tensor, frozen: Frozen, channel: int | None, scale: float, zero_point: int
) -> dict[str, float] | None:
    """The numbers for a weight.

    Args:
        weight: float values; frozen: the grid in use.
        channel: one output channel, or None for all.
        scale: new scale; of all channels of a per-channel grid: a factor on every scale.
        zero_point: new zero-point; ignored where the scale is a factor.
    """
    grid, zeros = frozen.grid, frozen.zero_point.float()
    if channel is not None:
        if grid.granularity.kind != "channel" or not 0 <= channel < len(frozen.scale):
            return None
        row = weight.select(grid.granularity.axis, channel)
        single = Grid(grid.bits, grid.signed, grid.symmetric, narrow=grid.narrow)
        before = fake_quantize(row, frozen.scale[channel], zeros[channel], single)
        steps, zero = frozen.scale.new_tensor(scale), zeros.new_tensor(float(zero_point))
        return _compare(row, before, steps, zero, single)
    before = fake_quantize(weight, frozen.scale, zeros, grid)
    if grid.per_tensor:
        steps, zero = frozen.scale.new_tensor(scale), zeros.new_tensor(float(zero_point))
        return _compare(weight, before, steps, zero, grid)
    return _compare(weight, before, frozen.scale * scale, zeros, grid)


def _compare(
    weight: Tensor, before: Tensor, scale: Tensor, zero: Tensor, grid: Grid
) -> dict[str, float]:
    now = sqnr_db(weight, fake_quantize(weight, scale, zero, grid))
    steps = weight / grid.granularity.expand(scale, weight)
    codes = quantize(weight, scale, zero, grid) - grid.granularity.expand(zero, weight)
    clipped = ((steps - codes).abs() > 0.5 + 1e-6).float().mean()
    return {
        "sqnr_db": _finite(float(now)),
        "gain_db": _finite(float(now) - float(sqnr_db(weight, before))),
        "clipped": float(clipped),
    }


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
