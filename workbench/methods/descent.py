"""Steps of training: rates by kind of parameter, their schedule, and a mean of the weights.

Scales get a rate in proportion to their size and no decay: a decayed scale shrinks its
range, and Adam ignores how large a gradient is. Weights may get theirs in proportion
to their channel's size: in a network whose batch norms were folded, channels differ by factors of a
hundred, and one rate for all moves the small ones by many levels and the large ones by none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from workbench.methods.network_plan import Course
from workbench.methods.together import Together
from workbench.methods.trainable import Kind, Trainable

Group = dict[str, Any]

SMALLEST = 1e-8
MOMENTUM = 0.9


class Descent:
    """The optimiser of a `Trainable`, with its schedule.

    Args:
        trainable: what moves.
        course: how fast.
        steps: of the whole course.

    Attributes:
        norm: of the last gradient.
    """

    def __init__(self, trainable: Trainable, course: Course, steps: int) -> None:
        self._course = course
        self._steps = max(1, steps)
        groups = trainable.groups()
        self._weights = groups["weights"]
        self._parameters = [p for held in groups.values() for p in held]
        self._penalties = list(_penalties(trainable))
        self._sizes = _sizes(trainable, self._weights) if course.relative else []
        listed = [*self._listed(groups), *_of_scales(trainable, course)]
        self._base = [group["lr"] for group in listed]
        self._optimiser = self._make(listed)
        self._mean = [p.detach().clone() for p in self._parameters] if course.mean else []
        self.norm = 0.0

    def step(self, number: int) -> None:
        """Move along the gradients that are in place."""
        course = self._course
        for group, base in zip(self._optimiser.param_groups, self._base, strict=True):
            group["lr"] = base * factor(course, number, self._steps)
        for parameter, penalty in self._penalties:
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach(), alpha=2 * penalty)
        limit = course.clip_norm or math.inf
        self.norm = float(nn.utils.clip_grad_norm_(self._parameters, limit))
        before = [weight.detach().clone() for weight in self._weights] if self._sizes else []
        self._optimiser.step()
        with torch.no_grad():
            for weight, old, size in zip(self._weights, before, self._sizes, strict=False):
                weight.copy_(torch.lerp(old, weight, size))
            for mean, parameter in zip(self._mean, self._parameters, strict=False):
                mean.lerp_(parameter, 1 - course.mean)

    def gather(self, together: Together) -> None:
        """Sum the gradients over all processes."""
        together.gather(self._parameters)

    def clear(self) -> None:
        """Forget the gradients."""
        self._optimiser.zero_grad(set_to_none=True)

    @property
    def rate(self) -> float:
        """The present rate of the weights."""
        return float(self._optimiser.param_groups[0]["lr"])

    @torch.no_grad()
    def settle(self) -> None:
        """End with the mean of the weights, where one is kept."""
        for parameter, mean in zip(self._parameters, self._mean, strict=False):
            parameter.copy_(mean)

    def state(self) -> dict[str, Tensor]:
        """Rates, moments and means, to go on from; rates are shares of what scales began with."""
        tensors = {f"mean/{i}": mean for i, mean in enumerate(self._mean)}
        tensors |= {f"size/{i}": size for i, size in enumerate(self._sizes)}
        tensors["base/0"] = torch.tensor(self._base, dtype=torch.float64)
        for index, parameter in enumerate(self._parameters):
            for key, value in self._optimiser.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"moment/{index}/{key}"] = value
        return tensors

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        for key, value in tensors.items():
            kind, index, *rest = key.split("/")
            if kind == "mean":
                self._mean[int(index)].copy_(value)
            elif kind == "size":
                self._sizes[int(index)].copy_(value)
            elif kind == "base":
                self._base = value.tolist()
            else:
                state = self._optimiser.state[self._parameters[int(index)]]
                state[rest[0]] = value.clone()

    def _listed(self, groups: Mapping[Kind, list[nn.Parameter]]) -> Iterator[Group]:
        course = self._course
        decays: dict[Kind, float] = {"weights": course.weight_decay, "offsets": 0.0}
        for kind, decay in decays.items():
            yield {"params": groups[kind], "lr": course.learning_rate, "weight_decay": decay}

    def _make(self, listed: list[Group]) -> torch.optim.Optimizer:
        if self._course.optimiser == "sgd":
            return torch.optim.SGD(listed, lr=0.0, momentum=MOMENTUM, nesterov=True)
        return torch.optim.AdamW(listed, lr=0.0, weight_decay=0.0)


def factor(course: Course, number: int, steps: int) -> float:
    """The share of the rates at a step, from 0 to `steps` - 1: up in the warm-up, then down.

    Example:
        >>> [round(factor(Course(warm_up=0.5), n, 4), 3) for n in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    first = course.warm_up * steps
    if number < first:
        return (number + 1) / first
    done = (number - first) / max(1.0, steps - first)
    if course.fall == "none":
        return 1.0
    return 1 - done if course.fall == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def _of_scales(trainable: Trainable, course: Course) -> Iterator[Group]:
    """A group for each scale: the rate is a share of it, unless the quantizer says otherwise."""
    for quantizer in trainable.quantizers():
        for name, parameter in quantizer.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            size = float(parameter.detach().abs().mean())
            share = 1.0 if name in quantizer.absolute else max(size, SMALLEST)
            rate = quantizer.rates.get(name, course.scale_learning_rate * share)
            yield {"params": [parameter], "lr": rate, "weight_decay": 0.0}


def _penalties(trainable: Trainable) -> Iterator[tuple[nn.Parameter, float]]:
    """(parameter, λ) of what is held back by λ p², such as PACT's clips."""
    for quantizer in trainable.quantizers():
        if quantizer.penalty:
            yield from ((p, quantizer.penalty) for p in quantizer.parameters() if p.requires_grad)


def _sizes(trainable: Trainable, weights: list[nn.Parameter]) -> list[Tensor]:
    """The share of a step that each weight takes: its channel's size against the layer's largest.

    Broadcastable to the weights; sizes are root mean squares over what shares a scale.
    """
    granularity = {id(t.weight): t.quantizer.grid.granularity for t in trainable.trained()}
    found = []
    for weight in weights:
        held, x = granularity[id(weight)], weight.detach()
        size = held.rows(x).square().mean(dim=1).sqrt()
        share = (size / size.max().clamp(min=SMALLEST)).clamp(min=SMALLEST)
        found.append(held.expand(held.unrows(share, x.shape), x))
    return found
