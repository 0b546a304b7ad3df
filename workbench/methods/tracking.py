"""Codes of weights watched from step to step: flips, oscillation, and freezing (Nagel et al. 2022).

    o = 1 where a code changed against the direction of its change before, else 0
    f ← m o + (1 - m) f                                   frequency of oscillation, m = 0.01
    f > threshold  →  the code is fixed at round(mean of its codes)

(arXiv:2203.11086, sec. 4.3.) A frozen weight holds its integer, not its float value, so it follows
the scale, which goes on learning. The threshold falls by a cosine from ten times its last value,
since codes have to move at first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from workbench.graph.quantized import QuantizedGraph
from workbench.maths.grid import dequantize
from workbench.quantizers.registry import QUANTIZERS

MOMENTUM = 0.01
FAST = 5 * MOMENTUM  # of the share that flips
START = 10.0  # times the last threshold


def falling(threshold: float, done: float) -> float:
    """The frequency at which a code is frozen when a share `done` of the steps is over."""
    return threshold * (1 + (START - 1) * 0.5 * (1 + math.cos(math.pi * done)))


class Tracker:
    """Flips and oscillations of every weight's codes, and those that are frozen.

    Args:
        model: whose weights train.
        threshold: last frequency at which a code is frozen; 0 freezes nothing.
    """

    def __init__(self, model: QuantizedGraph, threshold: float = 0.0) -> None:
        self._model = model
        self._threshold = threshold
        self._sites = {
            site.name: CodeHistory(self._now(site.name)) for site in model.of_kind("weight")
        }

    @torch.no_grad()
    def step(self, done: float) -> None:
        """See the weights after a step; `done` is the share of training that is over."""
        limit = falling(self._threshold, done)
        for name, codes in self._sites.items():
            codes.see(self._now(name), averaged=self._threshold > 0)
            if self._threshold and self._follows(name):
                codes.freeze(limit)
                self._hold(name, codes)

    @torch.no_grad()
    def hold(self) -> None:
        """Put frozen weights back on their codes, after something else has moved them."""
        for name, codes in self._sites.items():
            self._hold(name, codes)

    def readings(self) -> dict[str, dict[str, float]]:
        """Of each weight: flips a step, and shares that oscillate and are frozen."""
        return {name: codes.readings() for name, codes in self._sites.items()}

    def state(self) -> dict[str, Tensor]:
        """Everything, to go on from."""
        return {
            f"{name}/{key}": value
            for name, codes in self._sites.items()
            for key, value in codes.held().items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        for key, value in tensors.items():
            name, _, field = key.rpartition("/")
            self._sites[name].held()[field].copy_(value)

    def _now(self, name: str) -> Tensor:
        return self._model.quantizer(name).codes(self._model.weight(name).detach())

    def _follows(self, name: str) -> bool:
        """Whether a weight set to a level keeps that code."""
        kind = type(self._model.quantizer(name))
        return all(e.facts.get("projects", True) for e in QUANTIZERS if e.make is kind)

    def _hold(self, name: str, codes: CodeHistory) -> None:
        if not bool(codes.frozen.any()):
            return
        quantizer, weight = self._model.quantizer(name), self._model.weight(name)
        values = dequantize(codes.fixed, *quantizer.affine(), quantizer.grid, quantizer.table())
        weight.copy_(torch.where(codes.frozen, values, weight))


class CodeHistory:
    """What is known of the codes of one weight.

    Attributes:
        codes: at the last step; mean: their running mean; fixed: of those that are frozen.
        direction: the last change, 0 before any; frequency: of changes against it.
        flips: running share of codes that change at a step, a scalar.
        frozen: which are held.
    """

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes.clone()
        self.mean = codes.clone()
        self.fixed = codes.clone()
        self.direction = torch.zeros_like(codes)
        self.frequency = torch.zeros_like(codes)
        self.flips = torch.zeros((), device=codes.device)
        self.frozen = torch.zeros_like(codes, dtype=torch.bool)

    def held(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return dict(vars(self))

    def see(self, codes: Tensor, *, averaged: bool = True) -> None:
        """Take in the codes after a step.

        Args:
            codes: of now.
            averaged: keep their running mean, which freezing needs.
        """
        move = codes - self.codes
        changed = move != 0
        share = int(changed.count_nonzero()) / changed.numel()
        self.flips.mul_(1 - FAST).add_(FAST * share)
        self.frequency.mul_(1 - MOMENTUM)
        if share:
            turned = (move * self.direction) < 0
            self.frequency.add_(turned, alpha=MOMENTUM)
            self.direction = torch.where(changed, move, self.direction)
            self.codes.copy_(codes)
        if averaged:
            self.mean.lerp_(codes, MOMENTUM)

    def freeze(self, limit: float) -> None:
        """Hold codes that oscillate more often than `limit` at their mean."""
        fresh = (self.frequency > limit) & ~self.frozen
        self.fixed.copy_(torch.where(fresh, self.mean.round(), self.fixed))
        self.frozen |= fresh

    def readings(self) -> dict[str, float]:
        """Flips a step, and shares that oscillate and are frozen."""
        found = {
            "flips_per_step": float(self.flips),
            "oscillating": float((self.frequency > MOMENTUM).float().mean()),
        }
        frozen = float(self.frozen.float().mean())
        return found | ({"frozen": frozen} if frozen else {})
