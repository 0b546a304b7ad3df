"""What moves while a unit learns: learnable quantizers are put in place, and taken out again."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn

from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site, layers
from workbench.maths.grid import dequantize, position
from workbench.methods.calibrate import calibrate_activation, calibrate_weight, is_calibrated
from workbench.methods.overflow import make_room_for_biases
from workbench.methods.plan import Learnable, Plan
from workbench.methods.walk import UnitStop
from workbench.quantizers.base import Quantizer
from workbench.quantizers.codes import Codes
from workbench.quantizers.lsq import LSQ
from workbench.quantizers.registry import QUANTIZERS
from workbench.quantizers.rounding import Rounding, rectified_sigmoid

OPEN = (0.01, 0.99)
BINS = 10
HALF = 0.5


class Learners:
    """The learnable quantizers of one unit, calibrated and at the start of learning.

    Attributes:
        weights: learner of each weight site; empty where the plan moves no weight.
        start: the codes that each begins with, its nearest levels.
        moving: attributes of the module that learn themselves (biases).
    """

    def __init__(self, model: QuantizedGraph, stop: UnitStop, plan: Plan) -> None:
        self._model = model
        self._plan = plan
        self._rates = plan.rates()
        inside = set(stop.unit.layers)
        sites = [site for site in model.of_kind("weight") if site.layer in inside]
        self._calibrate(stop, sites)
        self._scales = self._learn_scales(stop)
        learns = QUANTIZERS[plan.quantizer].facts["learns"]
        self._roles = {name: role for name, role in learns.items() if role in self._rates}
        self.weights = {site.name: self._learner(site) for site in sites if self._roles}
        self.start = {name: self._codes(name) for name in self.weights}
        offsets = (layer.offset for layer in layers(model.graph) if layer.name in inside)
        self.offsets = [name for name in offsets if name and "bias" in self._rates]
        self.moving = [model.graph.attribute_of[name] for name in self.offsets]

    def groups(self) -> list[tuple[Learnable, float, list[nn.Parameter]]]:
        """(learnable, rate, parameters) of everything that moves."""
        found = []
        for parameter, role, is_scale in self._moving():
            share = float(parameter.detach().abs().mean()) if is_scale else 1.0
            learnable = self._rates[role]  # type: ignore[index]
            found.append((learnable, learnable.learning_rate * share, [parameter]))
        return found

    def parameters(self) -> list[nn.Parameter]:
        """Everything that moves."""
        return [parameter for parameter, _, _ in self._moving()]

    def soft(self, node: fx.Node, x: Tensor) -> Tensor:
        """A quantizer's node while it learns."""
        return self._model.module.get_submodule(str(node.target))(x)

    def hard(self, node: fx.Node, x: Tensor) -> Tensor:
        """A quantizer's node with the codes that will be exported."""
        learner = self.weights.get(node.meta["site"])
        return self.soft(node, x) if learner is None else self._values(learner, x)

    def roundings(self) -> tuple[Tensor, ...]:
        """h(V) of each weight that learns its rounding."""
        found = (q for q in self.weights.values() if isinstance(q, Rounding))
        return tuple(rectified_sigmoid(q.v) for q in found)

    @torch.no_grad()
    def harden(self) -> None:
        """Replace the weights' learners by the codes that they have chosen."""
        for name, learner in self.weights.items():
            site = self._model.sites[name]
            chosen = Codes(site.grid, site.shape)
            chosen.take(learner)
            chosen.set_codes(self._codes(name))
            self._model.set_quantizer(name, chosen)
        for scale in self._scales.values():
            scale.requires_grad_()

    @torch.no_grad()
    def state(self) -> list[Tensor]:
        """A copy of everything that moves."""
        return [parameter.detach().clone() for parameter in self.parameters()]

    @torch.no_grad()
    def restore(self, state: list[Tensor]) -> None:
        """Go back to what `state` gave."""
        for parameter, value in zip(self.parameters(), state, strict=True):
            parameter.copy_(value)

    @torch.no_grad()
    def signals(self) -> tuple[dict[str, float], dict[str, tuple[int, ...]]]:
        """(values, counts) for events: flips against nearest, open roundings, scales, clipping."""
        values: dict[str, float] = {}
        if self.weights:
            flips = [(self._codes(n) != codes).flatten() for n, codes in self.start.items()]
            values["flips"] = float(torch.cat(flips).float().mean())
            values["scale"] = _mean([q.affine()[0] for q in self.weights.values()])
            values["clipped"] = _mean([self._clipped(name) for name in self.weights])
        if self._scales:
            values["activation_scale"] = _mean([q.affine()[0] for q in self._scales.values()])
        h = self.roundings()
        if not h:
            return values, {}
        every = torch.cat([part.flatten() for part in h])
        values["open"] = float(((every > OPEN[0]) & (every < OPEN[1])).float().mean())
        return values, {"h": tuple(int(n) for n in torch.histc(every.float(), BINS, 0, 1))}

    def _calibrate(self, stop: UnitStop, weights: list[Site]) -> None:
        """Ranges where none is set: weights first, then activations from what arrives there."""
        model = self._model
        for site in weights:
            if not is_calibrated(model, site):
                calibrate_weight(model, site, self._plan.weight_calibrator)
        for site in stop.sites():
            if not is_calibrated(model, site):
                arriving = stop.arriving(site, self.soft)
                calibrate_activation(model, arriving, self._plan.calibrator)
        for layer in stop.unit.layers:
            make_room_for_biases(model, layer)

    def _learn_scales(self, stop: UnitStop) -> dict[str, LSQ]:
        """Step sizes to learn: of quantizers that no other unit has a part in."""
        found: dict[str, LSQ] = {}
        own = {site.name for site in stop.sites()}
        for name in sorted(own) if "activation_scale" in self._rates else ():
            site = self._model.sites[name]
            if site.shares is None and self._sharing(name) <= own and site.grid.uniform:
                found[name] = learner = LSQ(site.grid, site.shape)
                learner.take(self._model.quantizer(name))
                self._model.set_quantizer(name, learner)
        return found

    def _sharing(self, leader: str) -> set[str]:
        return {name for name, site in self._model.sites.items() if site.shares == leader}

    def _learner(self, site: Site) -> Quantizer:
        learner = QUANTIZERS[self._plan.quantizer].make(site.grid, site.shape)
        learner.take(self._model.quantizer(site.name))
        learner.start(self._model.weight(site.name).detach())  # type: ignore[attr-defined]
        for name, parameter in learner.named_parameters():
            parameter.requires_grad_(name in self._roles)
        self._model.set_quantizer(site.name, learner)
        return learner

    def _moving(self) -> Iterator[tuple[nn.Parameter, str, bool]]:
        """(parameter, role, whether it is a step size) of everything that moves."""
        for learner in self.weights.values():
            for name, role in self._roles.items():
                yield learner.get_parameter(name), role, name == "scale"
        for learner in self._scales.values():
            assert isinstance(learner.scale, nn.Parameter)
            yield learner.scale, "activation_scale", True
        for name in self.offsets:
            yield self._model.parameter(name), "bias", False

    def _codes(self, name: str) -> Tensor:
        return self.weights[name].codes(self._model.weight(name).detach()).detach()

    def _values(self, learner: Quantizer, weight: Tensor) -> Tensor:
        codes = learner.codes(weight)
        return dequantize(codes, *learner.affine(), learner.grid, learner.table()).detach()

    def _clipped(self, name: str) -> Tensor:
        """Share of the weight beyond the outermost levels."""
        learner = self.weights[name]
        weight = self._model.weight(name).detach()
        codes = position(weight, *learner.affine(), learner.grid, learner.table())
        outside = (codes < learner.grid.qmin - HALF) | (codes > learner.grid.qmax + HALF)
        return outside.float().mean()


def _mean(values: list[Tensor]) -> float:
    return float(torch.cat([value.detach().flatten().float() for value in values]).mean())
