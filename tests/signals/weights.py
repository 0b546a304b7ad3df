"""Weights with a quantizer, as training hands them to signals."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.maths.grid import Grid
from workbench.quantizers.base import Quantizer
from workbench.quantizers.lsq import LSQ
from workbench.signals.base import Seen, Trained


class Odd(LSQ):
    """Codes -3, -1, 1, 3: two bits of information on a grid of three."""

    @classmethod
    def own_grid(cls, grid: Grid) -> Grid:
        return Grid(
            grid.bits + 1, granularity=grid.granularity, narrow=True, label=f"odd{grid.bits}"
        )

    def codes(self, x: Tensor) -> Tensor:
        steps = x.detach() / self.grid.granularity.expand(self.affine()[0].detach(), x)
        return (2 * (steps / 2).floor() + 1).clamp(self.grid.qmin, self.grid.qmax)


def on(weight: Tensor, grid: Grid, step: float | Tensor, make: type[Quantizer] = LSQ) -> Trained:
    """A leaf with gradient and a quantizer of the given step."""
    quantizer = make(grid, tuple(weight.shape))
    step = torch.as_tensor(step, dtype=torch.float32).expand(quantizer.scale.shape)
    quantizer.set_affine(step, torch.zeros_like(step))
    return Trained("w", weight.clone().requires_grad_(), quantizer)


def of(*weights: Trained, step: int = 1, steps: int = 1) -> Seen:
    """A step of training that sees these weights."""
    return Seen((), step, steps, weights=weights)
