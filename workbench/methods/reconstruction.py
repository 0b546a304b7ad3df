"""The one loop of reconstruction: unit after unit along a walk, each learning as the plan says.

A method of this kind is a row: options, and the `Plan` that they amount to. One walk hands over the
units; only live tensors are kept, in memory up to a budget and in files beyond it. What a finished
unit learned is stored, and a run that was stopped goes on after it.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Collection, Iterator
from typing import Annotated, Any

from pydantic import Field

from workbench.foundation.options import Options
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.maths.calibrators.registry import ActivationCalibrator, WeightCalibrator
from workbench.methods.base import Batch, Event, Method, Task
from workbench.methods.calibrate import calibrate_activation, ensure_ranges, is_calibrated
from workbench.methods.correction import corrected
from workbench.methods.kept import NOTHING, Kept, upstream
from workbench.methods.plan import Plan, Schedule
from workbench.methods.readings import Thinned, of_histogram
from workbench.methods.resume import UnitProgress
from workbench.methods.training import CHECKS, Training
from workbench.methods.units import units
from workbench.methods.walk import ActivationStop, UnitStop, Walk


class ReconstructionOptions(Options):
    """What every row lets a person choose."""

    iterations: Annotated[int, Field(ge=1, le=1_000_000, description="steps for each unit")] = 500
    batch_size: Annotated[int, Field(ge=1, le=4096, description="examples per step")] = 32
    held_out: Annotated[
        float,
        Field(
            ge=0,
            le=0.5,
            description="share of the batches that only judges",
            json_schema_extra={"advanced": True},
        ),
    ] = 0.1
    calibrator: Annotated[
        ActivationCalibrator, Field(description="range of activations that have none yet")
    ] = "mse"
    weight_calibrator: Annotated[
        WeightCalibrator, Field(description="range of weights that have none yet")
    ] = "mse"

    def schedule(self, **more: Any) -> Schedule:
        """The schedule these options give, with what a row adds."""
        return Schedule(
            iterations=self.iterations,
            batch_size=self.batch_size,
            held_out=self.held_out,
            **more,
        )


class Reconstruction(Method):
    """A method that is a plan."""

    @abstractmethod
    def plan(self) -> Plan:
        """What the options amount to."""

    def learn(self, model: QuantizedGraph, task: Task) -> Iterator[Event]:
        """Walk the graph; each unit learns as a whole when its turn comes."""
        plan = self.plan()
        if plan.scope == "network":
            ranges = {"calibrator": plan.calibrator, "weight_calibrator": plan.weight_calibrator}
            yield from ensure_ranges(model, task, ranges)
        parts = units(model, plan.scope, plan.count, plan.merge)
        progress = UnitProgress(model, task, len(parts))
        batches = rebatched(model, task, plan.schedule.batch_size)
        for stop in Walk(model, batches, units=parts):
            if isinstance(stop, UnitStop):
                if progress.enter(stop.unit):
                    yield from self._unit(model, stop, plan, task, progress)
            elif isinstance(stop, ActivationStop) and not is_calibrated(model, stop.site):
                name, seen = stop.site.name, calibrate_activation(model, stop, plan.calibrator)
                if seen is not None:
                    found = {name: of_histogram(model.quantizer(name), seen)}
                    yield self.event("step", task, site=name, sites=found, **progress.count())

    def keeps(self, model: QuantizedGraph, changed: Collection[Site]) -> Kept:
        """Units before the first change; none where factors move what other units read."""
        plan = self.plan()
        if plan.scope == "network" or "equivalent" in plan.rates():
            return NOTHING
        return upstream(model, changed, units(model, plan.scope, plan.count, plan.merge))

    def _unit(
        self, model: QuantizedGraph, stop: UnitStop, plan: Plan, task: Task, progress: UnitProgress
    ) -> Iterator[Event]:
        name, began = stop.unit.name, time.perf_counter()
        thinned = Thinned(progress.count()["total"] * (CHECKS + 1))
        values: dict[str, float] = {}
        with corrected(model, stop, plan.correction):
            training = Training(model, stop, plan, task)
            for report in training.run():
                values = {"step": report.step, **report.values}
                yield self.event(
                    "step",
                    task,
                    site=name,
                    values=values,
                    counts=report.counts,
                    sites=thinned.next(report.sites),
                    text=f"{name}: step {report.step} of {plan.schedule.iterations}",
                    **progress.count(),
                )
        progress.finish(stop.unit)
        for concern in training.concerns:
            yield self.concern(task, concern, **progress.count())
        outcome = training.outcome
        values = {**values, **outcome.values, "seconds": time.perf_counter() - began}
        yield self.event(
            "layer",
            task,
            site=name,
            values=values,
            counts=outcome.counts,
            sites=outcome.sites,
            **progress.count(),
        )


def rebatched(model: QuantizedGraph, task: Task, size: int) -> Iterator[Batch]:
    """The calibration inputs, at most `size` examples at a time; whole where the batch is fixed.

    Batches are cut at the entrance, since inside a network the examples may lie along any axis.
    """
    free = all(spec.shape and not isinstance(spec.shape[0], int) for spec in model.graph.inputs)
    for batch in task.batches():
        step = size if free else len(batch[0])
        yield from zip(*(x.split(step) for x in batch), strict=True)
