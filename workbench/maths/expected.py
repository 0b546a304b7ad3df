"""How large the rounding error of a grid should be, for values spread evenly inside its cells.

    E[(x - l)²] = ((t⁺ - l)³ + (l - t⁻)³) / (3 (t⁺ - t⁻))        in the cell [t⁻, t⁺] of level l

which is s²/12 for equal steps s. Values outside the grid have the error that clipping gives them,
and zeros, where zero is a level, have none. A tensor whose measured error is larger than this one
sits on its grid unluckily (few distinct values, an offset); rounding that was learned may also have
chosen it to be larger.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.maths.grid import Grid, dequantize, quantize


def expected_noise(
    x: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid, levels: Tensor | None = None
) -> float:
    """Sum of the expected squared errors of `x` on a grid.

    Args:
        x: float values.
        scale, zero_point: of the grid's granularity.
        grid: the codes.
        levels: the table of a grid that has one.

    Example:
        >>> grid = Grid(bits=4)
        >>> x = torch.linspace(-0.7, 0.7, 10_000)
        >>> noise = expected_noise(x, torch.tensor(0.1), torch.tensor(0.0), grid)
        >>> round(noise / len(x) / (0.1**2 / 12), 2)
        1.0
    """
    x = x.detach()
    codes = quantize(x, scale, zero_point, grid, levels)
    error = (x - dequantize(codes, scale, zero_point, grid, levels)).double()
    steps = grid.granularity.expand(scale, x).double()
    below, above = _halves(grid, levels)
    index = (codes - grid.qmin).long()
    down, up = below[index] * steps, above[index] * steps
    inside = (up**3 + down**3) / (3 * (up + down))
    beyond = (error > up) | (-error > down)
    noise = torch.where(beyond, error.square(), inside)
    return float(torch.where((x == 0) & (error == 0), 0.0, noise).sum())


def _halves(grid: Grid, levels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Distance from each level to the ends of its cell, in steps; end cells are symmetric."""
    if levels is None:
        half = torch.full((grid.qmax - grid.qmin + 1,), 0.5, dtype=torch.float64)
        return half, half
    gaps = levels.detach().double().diff() / 2
    return torch.cat((gaps[:1], gaps)), torch.cat((gaps, gaps[-1:]))
