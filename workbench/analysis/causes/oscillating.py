"""Weights that swing between two codes to the end of training (Nagel et al. 2022).

arXiv:2203.11086. Which of both they have at the last step is chance. How many swing was recorded
while they trained.
Counterfactual: as many weights, those nearest to where their code changes, keep their float value,
which lies where the swinging has its mean. What is told is the damage that rounding this weight
does to the trained network: that of the network with the weight in float is taken off.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.analysis.causes.case import Case
from workbench.analysis.causes.changes import decibel, left_float
from workbench.analysis.causes.finding import Cure, Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.units import Unit
from workbench.maths.metrics import decibels
from workbench.quantizers.base import Quantizer
from workbench.quantizers.uniform import Uniform

#: fewer than this share of the weights are no illness
FEW = 0.005


class Held(Uniform):
    """Gives the same tensor whatever comes in."""

    held: Tensor

    def fake_quantize(self, x: Tensor) -> Tensor:
        return self.held


@cause(
    "oscillating",
    title="Weights that swing between two codes",
    order=24,
    serves=("weight",),
    where="weights that were trained, above all depthwise ones in few bits",
    changes="those that swing at their mean, between both codes",
)
def oscillating(case: Case, unit: Unit) -> Finding | None:
    """Training ended while codes still changed to and fro."""
    share = case.network.oscillating.get(unit.name, 0.0)
    if share < FEW:
        return None
    learned, quantizer = case.model.weight(unit.name).detach(), case.model.quantizer(unit.name)
    rounded = quantizer.fake_quantize(learned).detach()
    near = nearest_ties(quantizer, learned, share)
    mean = torch.where(near, learned, rounded)
    before, after, least = (_damage(case, unit, found) for found in (rounded, mean, learned))
    before_db, after_db = (_db(learned, found) for found in (rounded, mean))
    sentence = (
        f"{share:.1%} of the weights changed codes to and fro at the end of training; at their mean"
        f" they would raise the weight's SQNR from {before_db:.1f} to {decibel(after_db)}"
    )
    cures = (
        Cure("freeze", "codes that swing are fixed while training", {"options": {"freeze": 0.01}}),
        Cure("dampening", "weights are pulled to their codes", {"options": {"dampening": 0.1}}),
        Cure("steady", "training that dampens and freezes", {"method": "steady"}),
        left_float(case, unit),
    )
    return Finding(
        unit.name, sentence, before_db, after_db, before - least, max(0.0, after - least), cures,
        {"share": share},
    )  # fmt: skip


def _damage(case: Case, unit: Unit, weight: Tensor) -> float:
    """Of the whole network, in which one weight is this tensor: what was trained fits together."""
    made = Held(unit.site.grid, unit.site.shape)
    made.held = weight
    return case.network.damage(case.network.everything, {unit.name: made})


def nearest_ties(quantizer: Quantizer, weight: Tensor, share: float) -> Tensor:
    """The share of the weights that lies nearest to where a code changes; a mask of its shape."""
    distance = quantizer.tie_distance(weight).flatten()
    count = max(1, round(share * distance.numel()))
    mask = torch.zeros_like(distance, dtype=torch.bool)
    mask[distance.topk(count, largest=False).indices] = True
    return mask.reshape(weight.shape)


def _db(exact: Tensor, found: Tensor) -> float:
    return decibels(float(exact.square().sum()), float((exact - found).square().sum()))
