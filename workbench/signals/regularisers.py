"""Regularisers on the learnables themselves.

AdaRound (arXiv:2004.10568, eq. 24) pushes each h(V) to 0 or 1, gently at first:

    f = Σ (1 - |2 h(V) - 1|^β),   β from 20 down to 2 after a warm-up without it
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.signals.base import Seen
from workbench.signals.registry import signal


class RoundingOptions(Options):
    """Options of the rounding regulariser."""

    start: Annotated[float, Field(gt=0, le=100, description="β at first")] = 20.0
    end: Annotated[float, Field(gt=0, le=100, description="β at last")] = 2.0
    warm_up: Annotated[float, Field(ge=0, lt=1, description="share of the steps without it")] = 0.2


def rounding_regulariser(h: Tensor, beta: float) -> Tensor:
    """Scalar: 0 when every h is 0 or 1, the number of weights when every h is one half."""
    return (1 - (2 * h - 1).abs().pow(beta)).sum()


def annealed_beta(
    step: int, steps: int, *, warm_up: float = 0.2, start: float = 20.0, end: float = 2.0
) -> float:
    """β at a step: `start` during the warm-up share, then linear to `end`."""
    first = warm_up * steps
    if step <= first:
        return start
    return start + (end - start) * (step - first) / max(1.0, steps - first)


@signal(
    "rounding_regulariser",
    title="Rounding regulariser",
    options=RoundingOptions,
    citation="Nagel et al. 2020, arXiv:2004.10568",
    needs=("roundings",),
)
def of_roundings(seen: Seen, options: RoundingOptions) -> Tensor:
    """Drives each rounding to down or up, after a warm-up and more sharply towards the end."""
    if not seen.roundings or seen.step <= options.warm_up * seen.steps:
        return seen.outputs[0].value.new_zeros(())
    beta = annealed_beta(
        seen.step, seen.steps, warm_up=options.warm_up, start=options.start, end=options.end
    )
    return torch.stack([rounding_regulariser(h, beta) for h in seen.roundings]).sum()
