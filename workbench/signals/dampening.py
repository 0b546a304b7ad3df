"""Oscillation dampening (Nagel et al. 2022, arXiv:2203.11086).

    L = λ(t) ‖ŵ - clip(w, s n, s p)‖²_F,   λ(t) = (1 - cos π t) / 2,   t from 0 to 1 over the steps

Late in training weights swing between two neighbouring levels; this pulls each towards the level
ŵ that it has. ŵ and the step s get no gradient, and weights beyond the outermost levels s n and s p
none either, so that learning the step is not disturbed. Early on weights are to move freely, so λ
grows. Few bits swing most: wider grids are left alone.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.maths.ste import clamp_strict
from workbench.quantizers.base import Quantizer
from workbench.signals.base import Seen
from workbench.signals.levels import levels_of, outermost, projected
from workbench.signals.registry import signal


class DampeningOptions(Options):
    """Options of the dampening."""

    start: Annotated[float, Field(ge=0, lt=1, description="share of the steps without it")] = 0.0
    bits: Annotated[int, Field(ge=1, le=8, description="of the widest grids that it acts on")] = 4


def dampening(weight: Tensor, quantizer: Quantizer) -> Tensor:
    """Σ of the squared distances of all weights to their levels, clipped ones left out."""
    wanted = levels_of(quantizer.codes(weight), quantizer)
    return (wanted - clamp_strict(weight, *outermost(weight, quantizer))).square().sum()


def annealed(step: int, steps: int, start: float = 0.0) -> float:
    """λ at a step: 0 during the first share, then up to 1 in half a cosine wave."""
    first = start * steps
    share = max(0.0, step - first) / (steps - first)
    return (1 - math.cos(math.pi * min(1.0, share))) / 2


@signal(
    "dampening",
    title="Oscillation dampening",
    options=DampeningOptions,
    citation="Nagel et al. 2022, arXiv:2203.11086",
    needs=("weights",),
)
def of_weights(seen: Seen, options: DampeningOptions) -> Tensor:
    """Pulls weights of few bits towards the levels they have, more strongly towards the end."""
    factor = annealed(seen.step, seen.steps, options.start)
    held = [w for w in projected(seen.weights) if w.quantizer.asked.bits <= options.bits]
    if not held or not factor:
        return seen.nothing()
    return factor * torch.stack([dampening(own.weight, own.quantizer) for own in held]).sum()
