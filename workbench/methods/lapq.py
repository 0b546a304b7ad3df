"""LAPQ (Nahshan et al. 2020, arXiv:1911.07190): clips chosen together, by what the network loses.

    1.  c_i(p) = argmin over c of ‖x̂_i - x_i‖_p                for every tensor i, several p
    2.  p* = argmin of the parabola through L(c(p))             L: loss of the whole network
    3.  c* = argmin over c of L(c), by Powell's method, from c(p*)

At low bits the loss is not separable: the best clip of a layer depends on those of the others,
which no calibrator of single tensors can see. Here L = KL(softmax(z_float) ‖ softmax(z_quantized))
of the network's first output, so no labels are needed; in step 3 every tensor has one factor on
its clip, searched in its logarithm, and a weight's channels keep the proportions that p* gave them.

The paper evaluates on 512 images and lets Powell run twice through all tensors; here it is 256
examples and two rounds of three evaluations for each tensor. Each line that was searched is a
checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.quantized import QuantizedGraph
from workbench.maths import powell
from workbench.methods.base import Event, Method, Task
from workbench.methods.clips import Clips, OutputLoss, observed
from workbench.methods.overflow import make_room_for_biases
from workbench.methods.registry import method

POWERS = (2.0, 2.5, 3.0, 3.5, 4.0)


class LapqOptions(Options):
    """Options of LAPQ."""

    examples: Annotated[
        int, Field(ge=1, le=65_536, description="examples on which the loss is evaluated")
    ] = 256
    rounds: Annotated[
        int, Field(ge=0, le=100, description="of Powell's method; 0 keeps the best common norm")
    ] = 2
    step: Annotated[
        float, Field(gt=0, le=1, description="first change of a clip, as a share of it")
    ] = 0.1


@method(
    "lapq",
    title="Loss-aware clips (LAPQ)",
    options=LapqOptions,
    citation="Nahshan et al. 2020, arXiv:1911.07190",
    signal="divergence of the network's output, by search",
    scope="network",
    learnables="range (search)",
    data="unlabelled, 256 examples and more",
    cost="minutes",
    cells=("range/task_loss",),
    strategy="parameters",
    use="ranges at 4 bits and below where nothing may be trained",
)
class Lapq(Method):
    """Searches all clips together for the least loss of the network's output."""

    options: LapqOptions

    @torch.no_grad()
    def learn(self, model: QuantizedGraph, task: Task) -> Iterator[Event]:
        """Observe once, choose the norm, then a checkpoint and an event for each line searched."""
        clips, loss = Clips(model), OutputLoss(model)
        before = task.examples + len(POWERS) + 1
        count = {"total": before + self.options.rounds * len(clips)}
        for seen in observed(model, task, clips, loss, self.options.examples):
            yield self.event("step", task, step=seen, text="observing", **count)
        stored = task.checkpoint.load()
        if stored is None:
            losses: dict[float, float] = {}
            for step in range(task.examples + 1, before + 1):
                norm = _next_norm(losses)
                clips.fit(norm)
                losses[norm] = loss()
                values = {"norm": norm, "loss": losses[norm]}
                yield self.event("step", task, step=step, values=values, **count)
            norm = min(losses, key=losses.__getitem__)
            state = powell.start(len(clips), losses[norm], math.log1p(self.options.step))
        else:
            norm, state = float(stored[0]["norm"]), powell.unpacked(stored[0])
        clips.fit(norm)
        clips.scale(state.point)
        values = {"norm": norm, "loss": state.loss}
        sites = clips.signals([True] * len(clips))
        yield self.event("step", task, step=before, values=values, sites=sites, **count)

        def objective(point: Tensor) -> float:
            clips.scale(point)
            return loss()

        for found in powell.search(objective, state, self.options.rounds):
            moved = (found.point != state.point).tolist()
            state, done = found, found.rounds * len(clips) + found.line
            task.checkpoint.save(
                {"norm": torch.tensor(norm, dtype=torch.float64), **powell.packed(state)}, done
            )
            values = {"norm": norm, "loss": state.loss, "evaluations": state.evaluations}
            clips.scale(state.point)
            sites = clips.signals(moved)
            yield self.event("step", task, step=before + done, values=values, sites=sites, **count)
        make_room_for_biases(model)


def _next_norm(losses: Mapping[float, float]) -> float:
    """The next power to try: those of the list, then the minimum of the parabola through them."""
    if len(losses) < len(POWERS):
        return POWERS[len(losses)]
    powers = torch.tensor(list(losses)).double()
    matrix = torch.stack([powers**2, powers, torch.ones_like(powers)], dim=1)
    found = torch.linalg.lstsq(matrix, torch.tensor(list(losses.values())).double()[:, None])
    bend, slope, _ = found.solution[:, 0].tolist()
    best = min(losses, key=losses.__getitem__)
    return max(POWERS[0], min(POWERS[-1], -slope / (2 * bend))) if bend > 0 else best
