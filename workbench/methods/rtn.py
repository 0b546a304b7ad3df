"""Round to nearest: the baseline that every learner has to beat.

    ŵ = s * clip(round(w / s), qmin, qmax)

Each range is chosen from the tensor's own distribution (least |x̂ - x|^2.4 by default, LAPQ
arXiv:1911.07190) and each value goes to its nearest level; what the error does to the output is not
looked at. Activations are observed in the float network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from workbench.foundation.options import Options
from workbench.graph.quantized import QuantizedGraph
from workbench.methods.base import Event, Method, Task
from workbench.methods.calibrate import calibrate_activation, calibrate_weight
from workbench.methods.overflow import make_room_for_biases
from workbench.methods.registry import method
from workbench.methods.walk import ActivationStop, Walk

Calibrator = Literal["minmax", "percentile", "mse", "entropy"]


class RtnOptions(Options):
    """Options of round to nearest."""

    weight_calibrator: Annotated[Calibrator, Field(description="range of the weights")] = "mse"
    calibrator: Annotated[Calibrator, Field(description="range of the activations")] = "mse"


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

    options: RtnOptions

    def learn(self, model: QuantizedGraph, task: Task) -> Iterator[Event]:
        """Calibrate weights, then activations in one float pass."""
        weights, active = model.of_kind("weight"), model.of_kind("activation")
        total = len(weights) + len(active)
        for step, site in enumerate(weights, 1):
            calibrate_weight(model, site, self.options.weight_calibrator)
            yield self.event("step", task, site=site.name, step=step, total=total)
        if not active:
            return
        step = len(weights)
        for stop in Walk(model, task.batches(), prefix="float"):
            if isinstance(stop, ActivationStop):
                step += 1
                calibrate_activation(model, stop, self.options.calibrator)
                yield self.event("step", task, site=stop.site.name, step=step, total=total)
        make_room_for_biases(model)
