"""AdaRound (Nagel et al. 2020, arXiv:2004.10568): learned rounding, layer by layer.

    min over V of ‖f(W x) - f(Ŵ(V) x̂)‖² + λ Σ (1 - |2 h(V) - 1|^β)            (eq. 25)

x̂ comes from the already quantized prefix, f is the activation function that follows the layer.
Adam moves V; after 20 % of the iterations the regulariser sets in and drives h(V) to 0 or 1. The
paper's 10,000 iterations at λ = 0.01 are cut to what a CPU gives, at a higher rate and λ.
The gradient reference against which the closed-form lane is judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.quantized import QuantizedGraph
from workbench.methods.base import Event, Method, Task
from workbench.methods.calibrate import calibrate_weight
from workbench.methods.registry import method
from workbench.methods.resume import LayerProgress
from workbench.methods.walk import LayerStop, Walk
from workbench.quantizers.codes import Codes
from workbench.quantizers.rounding import Rounding, rectified_sigmoid
from workbench.signals.output_error import output_error
from workbench.signals.regularisers import annealed_beta, rounding_regulariser

WARM_UP = 0.2
REPORT_EVERY = 50


class AdaRoundOptions(Options):
    """Options of AdaRound."""

    iterations: Annotated[int, Field(ge=1, le=100_000, description="Adam steps per layer")] = 1000
    learning_rate: Annotated[float, Field(gt=0, le=1, description="of V")] = 3e-2
    regulariser: Annotated[float, Field(ge=0, le=10, description="weight of the rounding term")] = (
        0.1
    )
    calibrator: Annotated[
        Literal["minmax", "percentile", "mse", "entropy"],
        Field(description="range of weights and activations"),
    ] = "mse"


@method(
    "adaround",
    title="AdaRound",
    options=AdaRoundOptions,
    citation="Nagel et al. 2020, arXiv:2004.10568",
    signal="layer output error + rounding regulariser",
    scope="layer",
    learnables="rounding",
    data="unlabelled, 256 examples and more",
    cost="minutes",
)
class AdaRound(Method):
    """Learns by gradient whether each weight is rounded up or down."""

    options: AdaRoundOptions

    def learn(self, model: QuantizedGraph, task: Task) -> Iterator[Event]:
        """Walk the graph; at each layer train its rounding variables."""
        progress = LayerProgress(model, task)
        walk = Walk(model, task.batches())
        for stop, names in progress.unfinished(walk, self.options.calibrator):
            values: dict[str, float] = {}
            for values in self._layer(model, stop, names, task):
                yield self.event(
                    "step", task, site=stop.layer.name, values=values, **progress.count()
                )
            progress.finish(stop.layer)
            yield self.event("layer", task, site=stop.layer.name, values=values, **progress.count())

    def _layer(
        self, model: QuantizedGraph, stop: LayerStop, names: list[str], task: Task
    ) -> Iterator[dict[str, float]]:
        learners = {name: self._start(model, name) for name in names}
        places = {w.name: w.index for w in stop.layer.weights}
        batches = list(stop.arguments())
        order = torch.Generator().manual_seed(task.seed)
        optimiser = torch.optim.Adam(
            [q.v for q in learners.values()], lr=self.options.learning_rate
        )
        for step in range(1, self.options.iterations + 1):
            floats, quantized = batches[int(torch.randint(len(batches), (1,), generator=order))]
            with torch.enable_grad():
                for name, learner in learners.items():
                    quantized[places[name]] = learner(model.weight(name))
                error = output_error(_target(stop, floats), _output(stop, quantized), _axis(stop))
                loss = error + self._regulariser(learners.values(), step)
                optimiser.zero_grad()
                loss.backward()
            optimiser.step()
            if step % REPORT_EVERY == 0 or step == self.options.iterations:
                yield {"loss": float(error.detach()), "open": _open(learners.values())}
        for name, learner in learners.items():
            self._harden(model, name, learner)

    def _start(self, model: QuantizedGraph, name: str) -> Rounding:
        site = model.sites[name]
        calibrate_weight(model, site, self.options.calibrator)
        learner = Rounding(site.grid, site.shape)
        learner.set_affine(*model.quantizer(name).affine())
        learner.start(model.weight(name).detach())
        model.set_quantizer(name, learner)
        return learner

    def _regulariser(self, learners: Any, step: int) -> Tensor | float:
        if step <= WARM_UP * self.options.iterations:
            return 0.0
        beta = annealed_beta(step, self.options.iterations, warm_up=WARM_UP)
        terms = [rounding_regulariser(rectified_sigmoid(q.v), beta) for q in learners]
        return self.options.regulariser * torch.stack(terms).sum()

    def _harden(self, model: QuantizedGraph, name: str, learner: Rounding) -> None:
        site = model.sites[name]
        chosen = Codes(site.grid, site.shape)
        chosen.set_affine(*learner.affine())
        chosen.set_codes(learner.hard().detach())
        model.set_quantizer(name, chosen)


def _target(stop: LayerStop, arguments: list[Any]) -> Tensor:
    with torch.no_grad():
        return _output(stop, arguments)


def _output(stop: LayerStop, arguments: list[Any]) -> Tensor:
    """The layer's output, through the activation function that alone reads it."""
    output = stop.call(arguments)
    output = output[0] if isinstance(output, tuple) else output
    return stop.apply_activation(output)


def _axis(stop: LayerStop) -> int:
    return 1 if stop.layer.op.startswith("Conv") else -1


def _open(learners: Any) -> float:
    """Share of rounding decisions still between 0.01 and 0.99."""
    h = torch.cat([rectified_sigmoid(q.v.detach()).flatten() for q in learners])
    return float(((h > 0.01) & (h < 0.99)).float().mean())
