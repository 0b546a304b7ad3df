"""Layer after layer in closed form: what methods share that round weights by second moments.

The walk stops at each layer; the moments of its inputs are gathered in one pass; the method rounds
each weight by them; the codes take the place of the weight's quantizer.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.maths.calibrators.registry import ActivationCalibrator
from workbench.maths.grid import Grid
from workbench.maths.moments import Moments, Problem, corrected_bias
from workbench.maths.patches import Places
from workbench.methods.base import Event, Method, Task
from workbench.methods.calibrate import calibrate_weight
from workbench.methods.kept import Kept, upstream
from workbench.methods.linear import LinearView, views
from workbench.methods.resume import LayerProgress
from workbench.methods.walk import LayerStop, Stream, Walk
from workbench.quantizers.codes import Codes

#: rows that the moments of K inputs want: so many for each input, and never fewer than the least
ROWS_PER_INPUT = 256
LEAST_ROWS = 8192
MOST_ROWS = 49_152


class SecondOrderOptions(Options):
    """Options of all of them."""

    rows: Annotated[
        int,
        Field(ge=256, le=2**24, description="most rows in a layer's moments, over all examples"),
    ] = MOST_ROWS
    calibrator: Annotated[ActivationCalibrator, Field(description="range of the activations")] = (
        "mse"
    )


@dataclass(frozen=True)
class Rounded:
    """What became of one weight.

    Attributes:
        problem: that was solved.
        codes: (G, O, K); scale, zero_point: (G, O, B).
        start: codes of nearest rounding; first: its error (G, O).
    """

    problem: Problem
    codes: Tensor
    scale: Tensor
    zero_point: Tensor
    start: Tensor
    first: Tensor


class SecondOrder(Method):
    """Visits the layers in order; subclasses round one weight, with `SecondOrderOptions`."""

    by_layer = True

    def learn(self, model: QuantizedGraph, task: Task) -> Iterator[Event]:
        """Walk the graph once; every finished layer is an event and a checkpoint."""
        progress = LayerProgress(model, task)
        walk = Walk(model, task.batches(), prefix=self.prefix())
        for stop, names in progress.unfinished(walk, self._common.calibrator):
            signals = self._layer(model, stop, task)
            progress.finish(stop.layer)
            yield from progress.report(self, stop.layer, names, signals)
        yield from progress.report_rest(self)

    def keeps(self, model: QuantizedGraph, changed: Collection[Site]) -> Kept:
        """What lies before the first change."""
        return upstream(model, changed)

    @abstractmethod
    def prefix(self) -> Stream:
        """Which inputs the layers see."""

    @abstractmethod
    def centred(self) -> bool:
        """Whether a bias, where there is one, takes up the mean error."""

    @abstractmethod
    def round(
        self,
        weight: Tensor,
        moments: Moments,
        grid: Grid,
        levels: Tensor | None,
        *,
        centred: bool,
        calibrator: str,
    ) -> Rounded:
        """Round one weight (G, O, K).

        Args:
            weight: of the layer.
            moments: of its inputs.
            grid: of the weight.
            levels: of a grid with a table.
            centred: True if the layer's bias takes up the mean error.
            calibrator: of weights, where the method searches no scale of its own.
        """

    @property
    def _common(self) -> SecondOrderOptions:
        return cast(SecondOrderOptions, self.options)

    @torch.no_grad()
    def _layer(self, model: QuantizedGraph, stop: LayerStop, task: Task) -> dict[str, float]:
        signals: dict[str, float] = {}
        own = [v for v in views(stop.layer, stop.node) if v.weight.name in model.sites]
        # the second weight of a recurrence sees the first one quantized, but not itself
        for view in own:
            model.quantizer(view.weight.name).enabled = False
        for view in own:
            if not view.exact:
                calibrate_weight(model, model.sites[view.weight.name], task.weight_calibrator)
                model.quantizer(view.weight.name).enabled = True
                continue
            signals.update(self._weight(model, stop, view, task))
        return signals

    def _weight(
        self, model: QuantizedGraph, stop: LayerStop, view: LinearView, task: Task
    ) -> dict[str, float]:
        site = model.sites[view.weight.name]
        weight = view.matrix(model.weight(site.name).detach())
        moments = gather(stop, view, task, self._common.rows, weight)
        chosen = Codes(site.grid, site.shape)
        if site.grid.learns_levels:
            calibrate_weight(model, site, task.weight_calibrator)
            chosen.take(model.quantizer(site.name))
        centred = self.centred() and stop.layer.offset is not None
        found = self.round(
            weight,
            moments,
            site.grid,
            chosen.table(),
            centred=centred,
            calibrator=task.weight_calibrator,
        )
        model.set_quantizer(site.name, settled(chosen, view, found))
        chosen.enabled = True
        rounded = view.matrix(chosen(model.weight(site.name)).detach())
        if centred:
            change = corrected_bias(weight, rounded, moments).flatten()
            model.parameter(str(stop.layer.offset)).add_(change)
        size = float(found.problem.error(torch.zeros_like(weight)).sum()) + 1e-20
        return {
            "error_nearest": float(found.first.sum()) / size,
            "error_learned": float(found.problem.error(rounded).sum()) / size,
            "flips": float((found.codes != found.start).float().mean()),
        }


def settled(chosen: Codes, view: LinearView, found: Rounded) -> Codes:
    """A quantizer with the codes and scales that were found."""
    scale, zero_point = (view.scales(p, chosen.grid) for p in (found.scale, found.zero_point))
    chosen.set_affine(scale, zero_point)
    chosen.set_codes(view.tensor(found.codes))
    return chosen


def gather(
    stop: LayerStop, view: LinearView, task: Task, most: int, weight: Tensor | None = None
) -> Moments:
    """Moments of what arrives at a layer.

    Args:
        stop: at the layer.
        view: of the weight that multiplies the rows.
        task: its seed chooses the rows.
        most: rows, over all examples.
        weight: (G, O, K) of the view, where the moments serve no other.
    """
    positions = positions_of(view, task.examples, most)
    moments = Moments(view.groups, view.inputs, weight)
    places = Places(task.seed)
    for floats, quantized in stop.arguments():
        parts = view.parts(quantized, positions, places)
        if all(a is b for a, b in zip(floats, quantized, strict=True)):
            for rows in parts:
                moments.add(rows)
        else:
            for rows, others in zip(parts, view.parts(floats, positions, places), strict=True):
                moments.add(rows, others)
        places = places.after(view.count(quantized))
    return moments


def positions_of(view: LinearView, examples: int, most: int = MOST_ROWS) -> int:
    """How many rows to take of each example."""
    wanted = min(most, max(LEAST_ROWS, ROWS_PER_INPUT * view.inputs))
    return -(-wanted // max(1, examples))
