"""Training by several processes together: whose share of a batch is whose, and what they agree on.

    g = Σ over processes (own / all) · ∂ mean loss over the own examples     all = Σ own

Every process holds the whole network and learns from its own share of each batch; gradients are
summed before a step, so all of them take the same step, and the weights come out as one process
would leave them, up to the order of sums of floats. A term that is no mean over examples, such as
the distance of features relative to their batch's energy, is averaged over the shares.

What decides anything (a loss that is watched, a held-out score, what a checkpoint holds) is summed
over all, or is what the first process says: so they never disagree, and none waits for another that
has ended. `Together` itself is a single process, which has everything and asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")


class Together:
    """One of `count` processes that train one network; by default the only one.

    A launcher of several overrides `total` and `agreed`, which all of them have to call alike, and
    `leave`.

    Args:
        rank: its number, from 0.
        count: of the processes.
        precision: of the forward pass, where the launcher says one; None leaves it to the plan.
    """

    def __init__(
        self, rank: int = 0, count: int = 1, precision: Literal["bfloat16"] | None = None
    ) -> None:
        self.rank = rank
        self.count = count
        self.precision: Literal["bfloat16"] | None = precision

    @property
    def leads(self) -> bool:
        """Whether this one writes, exports and judges."""
        return self.rank == 0

    def total(self, own: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        return own

    def agreed(self, own: Value) -> Value:
        """What the first process has, in all of them."""
        return own

    def leave(self) -> None:
        """Part from the others: from here on nothing is summed or agreed on."""

    def totals(self, own: Iterable[float]) -> list[float]:
        """The sums of numbers over all processes."""
        numbers = list(own)
        if self.count == 1:
            return numbers
        return self.total(torch.tensor(numbers, dtype=torch.float64)).tolist()

    def share(self, chosen: Sequence[int]) -> tuple[list[int], float]:
        """(own part, its weight) of a batch; the weights of all processes come to 1.

        Where there are fewer examples than processes, the last ones look at the first example with
        weight 0, so that all go through the same steps.

        Example:
            >>> Together(1, 2).share([5, 3, 8, 1, 4])
            ([3, 1], 0.4)
            >>> Together(2, 3).share([5, 3])
            ([5], 0.0)
        """
        own = list(chosen[self.rank :: self.count])
        return own or list(chosen[:1]), len(own) / len(chosen)

    def gather(self, parameters: Iterable[Tensor]) -> None:
        """Put the sum of all gradients in the place of the own ones.

        A parameter that got none in one process takes part with zeros; one that got none anywhere
        keeps none, since decay and momentum pass over it.
        """
        held = list(parameters)
        if self.count == 1 or not held:
            return
        got = torch.tensor([float(p.grad is not None) for p in held], device=held[0].device)
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in held]
        summed = self.total(torch.cat([got, *(g.detach().float().flatten() for g in grads)]))
        counts, *parts = summed.split([len(held), *(p.numel() for p in held)])
        for parameter, known, part in zip(held, counts.tolist(), parts, strict=True):
            grad = part.reshape(parameter.shape).to(parameter.dtype)
            parameter.grad = grad.clone() if known else None


def total(together: Together, own: Tensor) -> Tensor:
    """The sum over all processes inside a loss: gradients flow through it, from all of them."""
    return own if together.count == 1 else _Total.apply(own, together)


class _Total(torch.autograd.Function):
    """Every process's loss depends on the sum, so each own part gets the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, together: Together) -> Tensor:
        ctx.together = together
        return together.total(own)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.together.total(gradients[0].contiguous()), None
