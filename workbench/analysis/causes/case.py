"""A layer under examination: what happens to it and to the answer if one thing is different."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import or_

import torch
from torch import Tensor

from workbench.analysis.damage import Answer, TensorSums
from workbench.analysis.partial import FLOAT, PartialNetwork, Setting, everything
from workbench.analysis.units import Unit, by_layer, units
from workbench.foundation.errors import RecipeError, unknown_name
from workbench.graph.quantized import QuantizedGraph, uniform
from workbench.graph.sites import Site
from workbench.graph.taps import capture, channel_axis, value_nodes
from workbench.maths.grid import Grid
from workbench.maths.histogram import Histogram
from workbench.maths.metrics import decibels
from workbench.maths.ranges import histogram_range
from workbench.quantizers.base import Quantizer
from workbench.quantizers.bias import Bias

Inputs = tuple[Tensor, ...]
#: by site, what is to sit there for once; None leaves it float
Swaps = Mapping[str, Quantizer | None]


@dataclass(frozen=True)
class Ranges:
    """Names of the calibrators that a recipe uses."""

    weights: str = "mse"
    activations: str = "mse"


class Examined:
    """A quantized network beside its float original, on data that decide.

    Args:
        model: calibrated or learned; it is left as it was.
        held_out, calibration: batches of inputs.
        answer: what the first output says.
        ranges: how ranges are found.
        oscillating: by weight site, the share whose codes swung at the end of training.
    """

    def __init__(
        self,
        model: QuantizedGraph,
        held_out: Sequence[Inputs],
        calibration: Sequence[Inputs],
        answer: Answer,
        ranges: Ranges | None = None,
        oscillating: Mapping[str, float] | None = None,
    ) -> None:
        self.oscillating = oscillating or {}
        self.model, self.answer, self.ranges = model, answer, ranges or Ranges()
        self.calibration = list(calibration)
        self.networks = [PartialNetwork(model, inputs) for inputs in held_out]
        self.units = units(model)
        self.everything = everything(model)
        self._seen: tuple[str, list[Tensor]] = ("", [])
        self._measured: dict[tuple[object, ...], float] = {}

    @cached_property
    def places(self) -> dict[str, list[Unit]]:
        """The units of each layer, and those activations that no layer reads, by name."""
        layers = dict(by_layer(self.units))
        held = {unit.name for own in layers.values() for unit in own}
        return layers | {u.name: [u] for u in self.units if u.name not in held}

    def case(self, name: str) -> Case:
        """A layer, or a single site.

        Raises:
            RecipeError: there is none of this name.
        """
        single = {unit.name: [unit] for unit in self.units}
        known = single | self.places
        if name not in known:
            raise RecipeError(unknown_name("layer", name, list(known)))
        return Case(self, name, known[name])

    @cached_property
    def hurt(self) -> dict[str, float]:
        """What each place does to the answer by itself, in nats for each position, worst first."""
        found = {name: Case(self, name, own).own_damage for name, own in self.places.items()}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def worst(self, count: int) -> list[str]:
        """The places that hurt the answer most by themselves, worst first."""
        return list(self.hurt)[:count]

    def once(self, key: tuple[object, ...], measure: Callable[[], float]) -> float:
        """What is measured for several askers, by `key`."""
        if key not in self._measured:
            self._measured[key] = measure()
        return self._measured[key]

    def damage(self, setting: Setting, swaps: Swaps | None = None) -> float:
        """Divergence from the float answer, in nats for each position."""
        swaps = swaps or {}
        setting = without(setting, swaps, self.model)
        total, positions = 0.0, 0
        with swapped(self.model, swaps):
            for network in self.networks:
                reference = network.output({})
                output = network.output(network.run(setting))
                total += float(self.answer.divergence(reference, output))
                positions += len(self.answer.scores(reference))
        return total / max(1, positions)

    def held_out_values(self, tensor: str) -> list[Tensor]:
        """A float tensor on held-out data, batch by batch."""
        node = value_nodes(self.model.module)[tensor]
        return [network.values[node] for network in self.networks]

    def calibration_values(self, tensor: str) -> list[Tensor]:
        """The same on calibration data."""
        if self._seen[0] != tensor:
            module = self.model.graph.module
            with torch.no_grad():
                found = [capture(module, x, {tensor})[tensor] for x in self.calibration]
            self._seen = tensor, found
        return self._seen[1]


class Case:
    """One layer, or one site, of an examined network.

    Attributes:
        network: the whole.
        name: of the layer or site; units: what is quantized there.
    """

    def __init__(self, network: Examined, name: str, own: list[Unit]) -> None:
        self.network, self.name, self.units = network, name, own
        self.setting = reduce(or_, (unit.setting for unit in own), FLOAT)

    @property
    def model(self) -> QuantizedGraph:
        """The quantized graph."""
        return self.network.model

    def damage(self, swaps: Swaps | None = None) -> float:
        """To the answer when only this place is quantized, in nats for each position."""
        return self.network.damage(self.setting, swaps)

    @property
    def own_damage(self) -> float:
        """As it is."""
        return self.network.once((self.name,), self.damage)

    def once(self, unit: Unit, what: object, make: Callable[[], Quantizer | None]) -> float:
        """The damage with another quantizer on one site; `what` tells it from others there."""
        key = (self.name, unit.name, what)
        return self.network.once(key, lambda: self.damage({unit.name: make()}))

    def values(self, unit: Unit) -> list[Tensor]:
        """What a site quantizes: the float weight, or the activation on held-out data."""
        if unit.site.kind == "weight":
            return [self.model.original(unit.name).detach()]
        return self.network.held_out_values(unit.site.tensor)

    @torch.no_grad()
    def db(self, unit: Unit, quantizer: Quantizer | None = None, most: float = torch.inf) -> float:
        """SQNR at a site, as it is or under another quantizer.

        Args:
            unit: the site.
            quantizer: instead of its own.
            most: values beyond this magnitude are left out of both sums.
        """
        sums = TensorSums()
        for value in self.values(unit):
            given = value
            if quantizer is None and unit.site.kind == "weight":
                given = self.model.weight(unit.name).detach()
            found = (quantizer or self.model.quantizer(unit.name)).fake_quantize(given)
            kept = value.abs() <= most
            sums += TensorSums.between(value[kept], found[kept])
        return decibels(sums.signal, sums.noise)

    @torch.no_grad()
    def sums(self, unit: Unit, setting: Setting, swaps: Swaps | None = None) -> TensorSums:
        """Signal and noise where a unit's error is read, under a setting."""
        total = TensorSums()
        with swapped(self.model, swaps or {}):
            for network in self.network.networks:
                changed = network.run(without(setting, swaps or {}, self.model))
                found = network.value(unit.place, changed)
                total += TensorSums.between(network.values[unit.place], found)
        return total

    def refitted(
        self,
        unit: Unit,
        grid: Grid | None = None,
        ranges: Ranges | None = None,
        room: bool = True,
    ) -> Quantizer:
        """A plain quantizer for a site on another grid, or with a range found in another way.

        A grid by channels for an activation covers each channel's extremes. A weight leaves `room`
        for the bias of its layer, as methods see to, where its scales are those of the bias.
        """
        grid, ranges = grid or unit.site.grid, ranges or self.network.ranges
        if unit.site.kind == "weight":
            made = uniform(replace(unit.site, grid=grid))
            made.fit(self.model.original(unit.name).detach(), ranges.weights)
            weights = unit.layer.weights if unit.layer is not None else ()
            summed = {w.input_axis for w in weights if w.name == unit.name}
            if grid.granularity.kind == "channel" and grid.granularity.axis in summed:
                room = False  # scales along what is summed: no file has them, nor a bias to match
            for site in self.model.of_kind("bias") if room else ():
                follower = self.model.quantizer(site.name)
                if isinstance(follower, Bias) and site.layer == unit.site.layer:
                    follower.beside(made).make_room(self.model.original(site.name).detach())
            return made
        values = self.network.calibration_values(unit.site.tensor)
        return fitted(unit.site, values, grid, ranges.activations)

    def channels(self, unit: Unit) -> int:
        """The axis of an activation's features."""
        node = value_nodes(self.model.graph.module)[unit.site.tensor]
        return channel_axis(node, self.values(unit)[0].ndim)


def fitted(
    site: Site, values: Sequence[Tensor], grid: Grid | None = None, calibrator: str = "mse"
) -> Quantizer:
    """A plain quantizer for an activation site that has seen `values`."""
    grid = grid or site.grid
    if not grid.per_tensor:
        rows = [grid.granularity.rows(value) for value in values]
        wide = replace(site, grid=grid, shape=tuple(values[0].shape))
        made = uniform(wide)
        low = torch.stack([r.amin(1) for r in rows]).amin(0)
        made.set_range(low, torch.stack([r.amax(1) for r in rows]).amax(0))
        return made
    seen = Histogram()
    for value in values:
        seen.add(value)
    made = uniform(replace(site, grid=grid))
    made.set_range(*histogram_range(seen, grid, calibrator))
    return made


def without(setting: Setting, swaps: Swaps, model: QuantizedGraph) -> Setting:
    """What is left of a setting: sites that are float for once are off, and nothing learned."""
    off = Setting(frozenset(name for name, other in swaps.items() if other is None))
    learned = frozenset(model.sites[name].tensor for name in swaps)
    return setting - off - Setting(parameters=learned)


@contextmanager
def swapped(model: QuantizedGraph, swaps: Swaps) -> Iterator[None]:
    """Other quantizers sit on some sites while the block runs; nothing follows them there."""
    calls = (node for node in model.module.graph.nodes if node.op == "call_module")
    keys = {node.meta["site"]: str(node.target) for node in calls}
    before = {name: model.quantizer(name) for name, new in swaps.items() if new is not None}
    try:
        for name in before:
            setattr(model.module, keys[name], swaps[name])
        yield
    finally:
        for name, quantizer in before.items():
            setattr(model.module, keys[name], quantizer)
