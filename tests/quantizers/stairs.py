"""What the tests of staircase quantizers share."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.maths.grid import Grid
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import QUANTIZERS
from workbench.quantizers.steps import Staircase


def uniform(bits: int, low: float, high: float, *, signed: bool = False) -> Quantizer:
    """A calibrated one, to start from."""
    grid = Grid(bits, signed=signed, symmetric=signed)
    found = QUANTIZERS["uniform"].make(grid, ())
    found.set_range(torch.tensor(low), torch.tensor(high))
    return found


def started(name: str, other: Quantizer, shape: tuple[int, ...] = ()) -> Staircase:
    """The named quantizer in the place of another one."""
    learner = QUANTIZERS[name].make(other.grid, shape)
    assert isinstance(learner, Staircase)
    learner.take(other)
    return learner


def set_to(parameter: Tensor, values: object) -> None:
    """Change a parameter in place."""
    with torch.no_grad():
        parameter.copy_(torch.as_tensor(values, dtype=torch.float32))


def gradients(learner: Quantizer, x: Tensor) -> dict[str, Tensor]:
    """Of Σ x̂: those of the parameters by name, and of `x`."""
    x = x.clone().requires_grad_()
    learner.zero_grad()
    learner(x).sum().backward()
    found = {n: p.grad for n, p in learner.named_parameters() if p.grad is not None}
    assert x.grad is not None
    return {**found, "x": x.grad}
