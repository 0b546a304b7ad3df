"""Output error weighted by the diagonal Fisher information (BRECQ, arXiv:2102.05426).

    L = mean over examples and positions of Σ over channels F (z - ẑ)²,   F ∝ E[(∂ log p(y) / ∂z)²]

A second-order view of the network's loss: an element of the block's output matters as far as the
prediction depends on it. The labels y are drawn from the float network's own prediction, so F is
the Fisher information itself and needs no labels. F is scaled to a mean of 1, so that the weight of
a regulariser means the same as with the plain error.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from workbench.signals.base import Seen
from workbench.signals.registry import signal

DRAWS = 4
SMALLEST = 1e-30


def importance(
    logits: Tensor, outputs: Sequence[Tensor], generator: torch.Generator, draws: int = DRAWS
) -> list[Tensor]:
    """F of each tensor in `outputs`, with a mean of 1.

    Args:
        logits: (..., classes), computed from `outputs` with gradient.
        outputs: tensors that require a gradient.
        generator: decides the labels that are drawn.
        draws: labels for each position.
    """
    logs = functional.log_softmax(logits.reshape(-1, logits.shape[-1]), dim=-1)
    sums = [torch.zeros_like(value) for value in outputs]
    for draw in range(draws):
        label = torch.multinomial(logs.detach().exp().cpu(), 1, generator=generator)
        chosen = logs.gather(1, label.to(logs.device)).sum()
        found = torch.autograd.grad(
            chosen,
            outputs,
            retain_graph=draw < draws - 1,
            materialize_grads=True,
            allow_unused=True,
        )
        sums = [total + gradient.square() for total, gradient in zip(sums, found, strict=True)]
    return [_normalised(total) for total in sums]


def _normalised(information: Tensor) -> Tensor:
    mean = information.mean()
    return information / mean if float(mean) > SMALLEST else torch.ones_like(information)


@signal(
    "fisher",
    title="Fisher-weighted output error",
    citation="Li et al. 2021, arXiv:2102.05426",
    needs=("importance",),
)
def fisher(seen: Seen, options: object) -> Tensor:  # noqa: ARG001
    """Squared output error, each element weighted by what it means to the prediction."""
    terms = []
    for output in seen.outputs:
        assert output.importance is not None
        gap = (output.reference - output.value).square() * output.importance
        terms.append(gap.sum(dim=output.channel_axis).mean())
    return torch.stack(terms).sum()
