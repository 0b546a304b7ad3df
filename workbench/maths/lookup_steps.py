"""Steps whose place is chosen among K candidates, as a table that is looked up (LLT).

    θ_i (K logits) -> one-hot e_i at argmax θ_i -> E_i = cumsum(e_i)                forward
    θ_i            -> softmax(θ_i / τ)          -> cumsum                           backward
    table[0] = 0,   table[i K + 1 + p] = i + E_i[p],   i < n, p < K
    q(u) = table[clip(round(u K), 0, n K)]

u counts from the lowest level in steps. Step i is thus taken at u = i + (p_i + ½) / K, where p_i is
the chosen candidate; with K odd the middle one is the half-way of ordinary rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.maths.staircase import look_up
from workbench.maths.ste import clamp_strict, straight_through

#: bins to a step, and so candidates
BINS = 9
#: how much a candidate is preferred at first to the one farther out
PREFERENCE = 0.5


def first_logits(count: int) -> Tensor:
    """The middle candidate for each of `count` steps, `(count, K)`."""
    away = (torch.arange(BINS) - BINS // 2).abs()
    return (-PREFERENCE * away).expand(count, BINS).clone()


def places(logits: Tensor) -> Tensor:
    """Where the steps are, counted in steps from the lowest level, `(count,)`; not learned here."""
    chosen = logits.detach().argmax(1)
    return torch.arange(len(logits), device=logits.device) + (chosen + 0.5) / BINS


def table(logits: Tensor, temperature: float) -> Tensor:
    """The table `(count K + 1,)`: whole numbers, with the gradient of the soft choice."""
    soft = (logits / temperature).softmax(1).cumsum(1)
    hard = torch.zeros_like(soft).scatter_(1, logits.detach().argmax(1, keepdim=True), 1.0)
    risen = straight_through(hard.cumsum(1), soft)
    steps = risen + torch.arange(len(logits), device=logits.device)[:, None]
    return torch.cat([steps.new_zeros(1), steps.flatten()])


def surrogate(u: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """What the codes of `u` take their gradients from.

    Those of the logits come through the table; that of `u` is one inside the range.
    """
    found = table(logits, temperature)
    index = (u.detach() * BINS).round().clamp(0, len(found) - 1).long()
    inside = clamp_strict(u, 0.0, float(len(logits)))
    return look_up(found, index) + inside
