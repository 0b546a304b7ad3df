"""Regularisers on the learnables themselves.

AdaRound (arXiv:2004.10568, eq. 24) pushes each h(V) to 0 or 1, gently at first:

    f = Σ (1 - |2 h(V) - 1|^β),   β from 20 down to 2 after a warm-up without it
"""

from __future__ import annotations

from torch import Tensor


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
