"""Round to nearest: the baseline that every learner has to beat.

    ŵ = s * clip(round(w / s), qmin, qmax)

Each range is chosen from the tensor's own distribution (least |x̂ - x|^2.4 by default, LAPQ
arXiv:1911.07190) and each value goes to its nearest level; what the error does to the output is not
looked at. Activations are observed in the float network, one batch after the other, so memory does
not grow with the number of examples.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated

from pydantic import Field

from workbench.foundation.options import Options
from workbench.graph.batching import count_examples
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.maths.calibrators.registry import ActivationCalibrator, WeightCalibrator
from workbench.maths.histogram import Histogram
from workbench.methods.base import Event, Method, SiteSignals, Task
from workbench.methods.calibrate import Observers, calibrate_weight, narrow
from workbench.methods.kept import Kept, by_site
from workbench.methods.overflow import make_room_for_biases
from workbench.methods.readings import of_histogram, reading
from workbench.methods.registry import method


class RtnOptions(Options):
    """Options of round to nearest."""

    weight_calibrator: Annotated[WeightCalibrator, Field(description="range of the weights")] = (
        "mse"
    )
    weight_share: Annotated[
        float, Field(ge=0.05, le=1, description="part of the weights' range that is kept")
    ] = 1.0
    calibrator: Annotated[ActivationCalibrator, Field(description="range of the activations")] = (
        "mse"
    )


@method(
    "rtn",
    title="Round to nearest",
    options=RtnOptions,
    citation="Jacob et al. 2018, arXiv:1712.05877",
    signal="tensor error",
    scope="tensor",
    learnables="range (search)",
    data="unlabelled for activations, none for weights",
    cost="seconds",
    cells=("range/tensor_error", "rounding/tensor_error"),
    strategy="baseline",
    use="first look at any model; enough at 8 bits per channel",
)
class Rtn(Method):
    """Nearest rounding with calibrated ranges; nothing is learned."""

    by_layer = True
    options: RtnOptions

    def learn(self, model: QuantizedGraph, task: Task) -> Iterator[Event]:
        """Calibrate weights, then activations in one float pass."""
        weights = [site for site in model.of_kind("weight") if site.name not in task.kept]
        observers = Observers(model, self.options.calibrator, task.kept)
        watched = task.examples if observers else 0
        total = len(weights) + watched + len(observers)
        for step, site in enumerate(weights, 1):
            calibrate_weight(model, site, self.options.weight_calibrator)
            narrow(model.quantizer(site.name), self.options.weight_share)
            found = {
                site.name: SiteSignals(reading(model.quantizer(site.name), model.weight(site.name)))
            }
            yield self.event("step", task, site=site.name, sites=found, step=step, total=total)
        seen = 0
        for batch in task.batches() if observers else ():
            observers.see(batch)
            seen = min(watched, seen + count_examples(model.graph.inputs, batch))
            text = f"observed {seen} of {watched} examples"
            yield self.event("step", task, step=len(weights) + seen, total=total, text=text)
        for step, name in enumerate(observers.settle(), len(weights) + watched + 1):
            self.settled(model, name, observers[name])
            found = {name: of_histogram(model.quantizer(name), observers[name])}
            yield self.event("step", task, site=name, sites=found, step=step, total=total)
        make_room_for_biases(model, kept=task.kept)

    def keeps(self, model: QuantizedGraph, changed: Collection[Site]) -> Kept:
        """Every site is learned for itself."""
        return by_site(model, changed)

    def settled(self, model: QuantizedGraph, site: str, seen: Histogram) -> None:
        """Called once an activation has its range; for methods that refine it."""
