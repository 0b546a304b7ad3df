"""Ranges for activations and weights, as every method needs them before it learns anything else."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.graph.taps import watch
from workbench.maths.calibrators.registry import CALIBRATORS
from workbench.maths.histogram import Histogram
from workbench.maths.ranges import histogram_range
from workbench.maths.reservoir import Reservoir
from workbench.methods.base import Batch, Event, Task
from workbench.methods.registry import make
from workbench.methods.walk import ActivationStop
from workbench.quantizers.base import Quantizer

SOFTMAXES = frozenset({"Softmax", "LogSoftmax"})


class Observer:
    """What a calibrator needs to know of one activation site, in memory that does not grow.

    Args:
        model: its site gets the range.
        site: one with a quantizer of its own.
        calibrator: registered name.
        histogram: of values that were seen already.
    """

    def __init__(
        self, model: QuantizedGraph, site: Site, calibrator: str, histogram: Histogram | None = None
    ) -> None:
        self.histogram = histogram or Histogram()
        self._model = model
        self._site = site
        self._calibrator = calibrator
        wanted = CALIBRATORS[calibrator].facts.get("needs") == "classes"
        self._classes = Reservoir() if wanted and holds_classes(model, site) else None

    def add(self, *parts: Tensor) -> None:
        """See the tensors of one batch that share the site's scale."""
        self.histogram.add(*parts)
        for part in parts if self._classes is not None else ():
            self._classes.add(part)  # type: ignore[union-attr]

    def settle(self) -> None:
        """Set the site's range."""
        classes = None if self._classes is None else self._classes.rows
        found = histogram_range(self.histogram, self._site.grid, self._calibrator, classes)
        self._model.quantizer(self._site.name).set_range(*found)


class Observers:
    """Observers of every activation site that has a range of its own, in the float network.

    Nothing is kept of a batch but what the observers take from it, tensor by tensor, so ten
    thousand examples need no more memory than one batch. Sites that are `kept` have their range.
    """

    def __init__(self, model: QuantizedGraph, calibrator: str, kept: Collection[str] = ()) -> None:
        self._model = model
        activations = (s for s in model.of_kind("activation") if s.name not in kept)
        own = [site for site in activations if site.shares is None]
        self._observers = {site.name: Observer(model, site, calibrator) for site in own}
        joined = model.joined()
        self._groups = {site.name: joined.get(site.name, (site.tensor,)) for site in own}
        self._leader = {name: site for site, names in self._groups.items() for name in names}

    def __getitem__(self, site: str) -> Histogram:
        """What was seen of a site."""
        return self._observers[site].histogram

    def __len__(self) -> int:
        return len(self._observers)

    @torch.no_grad()
    def see(self, batch: Batch) -> None:
        """Run the float network on one batch."""
        waiting: dict[str, list[Tensor]] = {site: [] for site in self._groups}

        def take(name: str, value: Tensor) -> None:
            site = self._leader[name]
            waiting[site].append(value)
            if len(waiting[site]) == len(self._groups[site]):
                self._observers[site].add(*waiting.pop(site))

        watch(self._model.graph.module, batch, self._leader, take)

    def settle(self) -> Iterator[str]:
        """Set the range of each site; yields its name."""
        for name, observer in self._observers.items():
            observer.settle()
            yield name


@torch.no_grad()
def calibrate_activation(
    model: QuantizedGraph, stop: ActivationStop, calibrator: str
) -> Histogram | None:
    """Set the range of an activation site from what arrives there, which is returned.

    A site that shares follows the first one of its group, whose range covers them all: None.
    """
    if stop.site.shares is not None:
        return None
    observer = Observer(model, stop.site, calibrator, stop.together)
    for values in stop.values() if stop.together is None else ():
        observer.add(values)
    observer.settle()
    return observer.histogram


@torch.no_grad()
def calibrate_weight(model: QuantizedGraph, site: Site, calibrator: str) -> None:
    """Set the range of a weight site from the weight alone."""
    model.quantizer(site.name).fit(model.weight(site.name).detach(), calibrator)


def narrow(quantizer: Quantizer, share: float) -> None:
    """Keep a part of the range, from 0 to 1; what lies beyond is clipped."""
    if share != 1:
        scale, zero_point = quantizer.affine()
        quantizer.set_affine(scale * share, zero_point)


def is_calibrated(model: QuantizedGraph, site: Site) -> bool:
    """True once a range has been set; a fresh scale is exactly one everywhere.

    Levels of their own come with a range from the method that asks for them.
    """
    quantizer = model.quantizer(site.name)
    return bool(quantizer.form) or not bool((quantizer.affine()[0] == 1).all())


def ensure_ranges(
    model: QuantizedGraph, task: Task, options: Mapping[str, Any] | None = None
) -> Iterator[Event]:
    """Round to nearest first, with `options` of that method, unless every site has a range."""
    if not all(is_calibrated(model, site) for site in model.sites.values()):
        yield from make("rtn", options).learn(model, task)


def holds_classes(model: QuantizedGraph, site: Site) -> bool:
    """True if a softmax over the last axis reads the site's values."""
    readers = {node for node, _ in site.edges}
    for node in model.graph.model.graph:
        if node.name in readers and node.op_type in SOFTMAXES:
            axis = node.attributes.get("axis")
            last = -1 if axis is None else axis.as_int()
            if last in (-1, len(site.shape) - 1):
                return True
    return False
