"""What moves while a unit learns: learnable quantizers are put in place, and taken out again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, fx, nn

from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site, layers
from workbench.maths.grid import dequantize, position
from workbench.methods.base import SiteSignals
from workbench.methods.calibrate import calibrate_activation, calibrate_weight, is_calibrated
from workbench.methods.equivalent import Equivalent
from workbench.methods.overflow import make_room_for_biases
from workbench.methods.plan import Learnable, Plan
from workbench.methods.readings import nearest, of_weight, with_gradients
from workbench.methods.units import fetch
from workbench.methods.walk import UnitStop
from workbench.quantizers.base import Quantizer
from workbench.quantizers.codes import Codes
from workbench.quantizers.lsq import LSQ
from workbench.quantizers.registry import QUANTIZERS
from workbench.quantizers.rounding import Rounding, rectified_sigmoid

#: farthest from its level, in steps, that a weight begins whose code an earlier stage has chosen
REACH = 0.45


class Learners:
    """The learnable quantizers of one unit, calibrated and at the start of learning.

    Attributes:
        weights: learner of each weight site; empty where the plan moves no weight.
        moving: attributes of the module that learn themselves (biases).
    """

    def __init__(self, model: QuantizedGraph, stop: UnitStop, plan: Plan) -> None:
        self._model = model
        self._plan = plan
        self._rates = plan.rates()
        inside = set(stop.unit.layers)
        sites = [site for site in model.of_kind("weight") if site.layer in inside]
        self._equivalent = Equivalent(model, stop) if "equivalent" in self._rates else None
        self._calibrate(stop, sites)
        self._scales = self._learn_scales(stop)
        learns = QUANTIZERS[plan.quantizer].facts["learns"]
        self._roles = {name: role for name, role in learns.items() if role in self._rates}
        self._floats: dict[str, Tensor] = {}
        self._nearest: dict[str, Tensor] = {}
        self.weights = {site.name: self._learner(site) for site in sites if self._roles}
        offsets = (layer.offset for layer in layers(model.graph) if layer.name in inside)
        self.offsets = [name for name in offsets if name and "bias" in self._rates]
        self.moving = [model.graph.attribute_of[name] for name in self.offsets]
        self.moving += self._equivalent.paths if self._equivalent is not None else ()

    def groups(self) -> list[tuple[Learnable, float, list[nn.Parameter]]]:
        """(learnable, rate, parameters) of everything that moves."""
        found = []
        for _, parameter, role, is_scale in self._moving():
            share = float(parameter.detach().abs().mean()) if is_scale else 1.0
            learnable = self._rates[role]  # type: ignore[index]
            found.append((learnable, learnable.learning_rate * share, [parameter]))
        return found

    def parameters(self) -> list[nn.Parameter]:
        """Everything that moves."""
        return [parameter for _, parameter, _, _ in self._moving()]

    def value(self, path: str) -> Tensor:
        """An attribute of the module, as what learns makes it now."""
        if self._equivalent is not None and path in self._equivalent.paths:
            return self._equivalent.value(path)
        return fetch(self._model.module, path)

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
        if self._equivalent is not None:
            self._equivalent.settle()
        for name, learner in self.weights.items():
            site = self._model.sites[name]
            chosen = Codes(site.grid, site.shape)
            chosen.take(learner)
            chosen.set_codes(self._codes(name))
            self._model.set_quantizer(name, chosen)
        for name, weight in self._floats.items():
            self._model.weight(name).copy_(weight)
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
        if self._equivalent is not None:
            self._equivalent.settle()

    def located(self) -> list[tuple[str, nn.Parameter]]:
        """(site, parameter) of everything that moves; a bias is its own site."""
        return [(site, parameter) for site, parameter, _, _ in self._moving()]

    def own_activations(self, stop: UnitStop) -> list[str]:
        """Activation sites of the unit that have a quantizer of their own."""
        return [site.name for site in stop.sites() if site.shares is None]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of values of each weight that learns."""
        return {name: self._model.weight(name).numel() for name in self.weights}

    def signals(
        self, gradients: Mapping[str, float], arrived: Mapping[str, dict[str, float]]
    ) -> dict[str, SiteSignals]:
        """What learning does at each site: weights, activations that `arrived`, biases."""
        found = {
            name: of_weight(learner, self._model.weight(name), self._nearest[name])
            for name, learner in self.weights.items()
        }
        found |= {name: SiteSignals(values) for name, values in arrived.items()}
        return with_gradients(found, gradients)

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
            uniform = site.grid.uniform and not self._model.quantizer(name).form
            if site.shares is None and self._sharing(name) <= own and uniform:
                found[name] = learner = LSQ(site.grid, site.shape)
                learner.take(self._model.quantizer(name))
                self._model.set_quantizer(name, learner)
        return found

    def _sharing(self, leader: str) -> set[str]:
        return {name for name, site in self._model.sites.items() if site.shares == leader}

    def _learner(self, site: Site) -> Quantizer:
        learner = QUANTIZERS[self._plan.quantizer].make(site.grid, site.shape)
        before, weight = self._model.quantizer(site.name), self._model.weight(site.name)
        learner.take(before)
        self._nearest[site.name] = nearest(before, weight)
        if isinstance(before, Codes):
            self._floats[site.name] = weight.detach().clone()
            weight.data.copy_(_settled(before, weight.detach()))
        learner.start(weight.detach())  # type: ignore[attr-defined]
        for name, parameter in learner.named_parameters():
            parameter.requires_grad_(name in self._roles)
        self._model.set_quantizer(site.name, learner)
        return learner

    def _moving(self) -> Iterator[tuple[str, nn.Parameter, str, bool]]:
        """(site, parameter, role, whether it is a step size) of everything that moves."""
        for site, learner in self.weights.items():
            for name, role in self._roles.items():
                yield site, learner.get_parameter(name), role, name == "scale"
        for site, learner in self._scales.items():
            assert isinstance(learner.scale, nn.Parameter)
            yield site, learner.scale, "activation_scale", True
        for name in self.offsets:
            yield name, self._model.parameter(name), "bias", False
        if self._equivalent is not None:
            for name, parameters in self._equivalent.parameters.items():
                yield from ((name, parameter, "equivalent", False) for parameter in parameters)

    def _codes(self, name: str) -> Tensor:
        return self.weights[name].codes(self._model.weight(name).detach()).detach()

    def _values(self, learner: Quantizer, weight: Tensor) -> Tensor:
        codes = learner.codes(weight)
        return dequantize(codes, *learner.affine(), learner.grid, learner.table()).detach()


def _settled(chosen: Codes, weight: Tensor) -> Tensor:
    """The values nearest to the float weight that round to the codes chosen before.

    So every learner begins at those codes, and a weight that the earlier stage moved away from its
    nearest level begins near the edge, where it can return.
    """
    grid, affine, table = chosen.grid, chosen.affine(), chosen.table()
    place, codes = position(weight, *affine, grid, table), chosen.chosen
    low = (codes - REACH).masked_fill(codes <= grid.qmin, -math.inf)
    high = (codes + REACH).masked_fill(codes >= grid.qmax, math.inf)
    return dequantize(torch.minimum(torch.maximum(place, low), high), *affine, grid, table).detach()
