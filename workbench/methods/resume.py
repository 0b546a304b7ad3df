"""Layer-wise checkpoints: what is finished is kept, and skipped when learning starts again."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping

from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Layer, layers
from workbench.methods.base import Event, Method, SiteSignals, Task
from workbench.methods.calibrate import calibrate_activation
from workbench.methods.concerns import Watch
from workbench.methods.overflow import make_room_for_biases
from workbench.methods.readings import of_histogram, of_model
from workbench.methods.units import Unit
from workbench.methods.walk import ActivationStop, LayerStop, Walk

#: a layer of a small network takes less time than writing its state
SAVE_EVERY_SECONDS = 1.0


class LayerProgress:
    """Which sites are done; restores them from the task's checkpoint and saves after each layer.

    Sites that the task keeps are done from the start.
    """

    def __init__(self, model: QuantizedGraph, task: Task) -> None:
        self._model = model
        self._task = task
        order = quantized_layers(model)
        self._total = len(order)
        self._step = sum(weight_sites(model, layer)[0] in task.kept for layer in order)
        self._saved = time.monotonic()
        stored = task.checkpoint.load()
        self._done = set(task.kept)
        self._arrived: dict[str, SiteSignals] = {}
        if stored is not None:
            rest = [layer for layer in order if weight_sites(model, layer)[0] not in task.kept]
            tensors, kept = stored[0], self._step
            self._step = stored[1]
            model.load_state(tensors)
            for layer in rest[: self._step - kept]:
                self._mark(layer)

    def is_done(self, site: str) -> bool:
        """True if the site was finished before this start."""
        return site in self._done

    def unfinished(
        self, walk: Walk, calibrator: str | None
    ) -> Iterator[tuple[LayerStop, list[str]]]:
        """The layers still to learn, with their weight sites.

        Activations are calibrated on the way; with no calibrator they keep the ranges they have.
        """
        for stop in walk:
            if isinstance(stop, ActivationStop):
                if calibrator is not None and not self.is_done(stop.site.name):
                    self._calibrate(stop, calibrator)
                continue
            assert isinstance(stop, LayerStop)
            names = weight_sites(self._model, stop.layer)
            if names and not self.is_done(names[0]):
                yield stop, names

    def finish(self, layer: Layer) -> None:
        """Mark a layer and save the whole state."""
        make_room_for_biases(self._model, layer.name)
        self._step += 1
        self._mark(layer)
        now = time.monotonic()
        if now - self._saved > SAVE_EVERY_SECONDS or self._step == self._total:
            self._task.checkpoint.save(self._model.state(), self._step)
            self._saved = now

    def count(self) -> dict[str, int]:
        """step and total, for events."""
        return {"step": self._step, "total": self._total}

    def report(
        self, method: Method, layer: Layer, sites: Collection[str], values: Mapping[str, float]
    ) -> Iterator[Event]:
        """What is said of a layer that was solved in one go: concerns, and its signals.

        Args:
            method: that solved it.
            layer, sites: the layer and its weight sites.
            values: signals of the layer; where codes were searched, with "error_nearest" and
                "error_learned".
        """
        watch = Watch(layer.name)
        if "error_learned" in values:
            watch.solved(values["error_nearest"], values["error_learned"])
        for concern in watch.concerns():
            yield method.concern(self._task, concern, **self.count())
        found = {**self._taken(), **of_model(self._model, sites)}
        yield method.event(
            "layer", self._task, site=layer.name, values=values, sites=found, **self.count()
        )

    def report_rest(self, method: Method) -> Iterator[Event]:
        """Signals of activations that were calibrated behind the last layer."""
        found = self._taken()
        if found:
            yield method.event("step", self._task, sites=found, **self.count())

    def _calibrate(self, stop: ActivationStop, calibrator: str) -> None:
        seen, name = calibrate_activation(self._model, stop, calibrator), stop.site.name
        if seen is not None:
            self._arrived[name] = of_histogram(self._model.quantizer(name), seen)

    def _taken(self) -> dict[str, SiteSignals]:
        """Signals of the activations that were calibrated since the last report."""
        found, self._arrived = self._arrived, {}
        return found

    def _mark(self, layer: Layer) -> None:
        readers = {layer.name}
        for name, site in self._model.sites.items():
            if readers & {node for node, _ in site.edges} or site.layer == layer.name:
                self._done.add(name)


class UnitProgress:
    """Which units are done; restored from the task's checkpoint, saved after each unit.

    Units that the task keeps are done from the start.
    """

    def __init__(self, model: QuantizedGraph, task: Task, total: int) -> None:
        self._model = model
        self._task = task
        self._total = total
        self._step = 0
        self._entered = 0
        self._saved = time.monotonic()
        stored = task.checkpoint.load()
        if stored is not None:
            tensors, self._step = stored
            model.load_state(tensors)

    def enter(self, unit: Unit) -> bool:
        """True if the next unit of the walk is still to learn."""
        self._entered += 1
        own = {site.name for site in self._model.of_kind("weight") if site.layer in unit.layers}
        if own and own <= self._task.kept:
            self._step = max(self._step, self._entered)
        return self._entered > self._step

    def finish(self, unit: Unit) -> None:
        """Keep what a unit learned."""
        for layer in unit.layers:
            make_room_for_biases(self._model, layer)
        self._step += 1
        now = time.monotonic()
        if now - self._saved > SAVE_EVERY_SECONDS or self._step == self._total:
            self._task.checkpoint.save(self._model.state(), self._step)
            self._saved = now

    def count(self) -> dict[str, int]:
        """step and total, for events."""
        return {"step": self._step, "total": self._total}


def quantized_layers(model: QuantizedGraph) -> list[Layer]:
    """The layers with a quantized weight, in order."""
    return [layer for layer in layers(model.graph) if weight_sites(model, layer)]


def weight_sites(model: QuantizedGraph, layer: Layer) -> list[str]:
    """The quantized weights of a layer."""
    return [weight.name for weight in layer.weights if weight.name in model.sites]
