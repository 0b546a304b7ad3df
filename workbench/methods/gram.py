"""Gram-space rounding: layer reconstruction in closed form, with no gradient step.

The walk visits layers in order. At each one it gathers second moments of the inputs, solves for the
compensated target (so that errors of earlier layers are undone where a linear map can), searches
the scale weighted by the moments, descends over the codes, refits the scale and corrects the bias:

    min over q, s, b̂ of E ‖W x + b - (s q x_q + b̂)‖²        (see `workbench.maths.gram`)

Codes, scale and bias are learned; the signal is the layer's output error; the scope is the layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.quantized import QuantizedGraph
from workbench.maths import gram
from workbench.maths.grid import Grid
from workbench.methods.base import Event, Method, Task
from workbench.methods.calibrate import calibrate_weight
from workbench.methods.linear import LinearView, views
from workbench.methods.registry import method
from workbench.methods.resume import LayerProgress
from workbench.methods.walk import LayerStop, Walk
from workbench.quantizers.codes import Codes

#: rows that the moments of K inputs want: so many for each input, and never fewer than the least
ROWS_PER_INPUT = 256
LEAST_ROWS = 8192


class GramOptions(Options):
    """Options of Gram-space rounding."""

    compensate: Annotated[
        bool, Field(description="take inputs from the quantized prefix and undo its errors")
    ] = True
    bias_correction: Annotated[bool, Field(description="let the bias take up the mean error")] = (
        True
    )
    sweeps: Annotated[int, Field(ge=0, le=64, description="visits to each code; 0 is nearest")] = 4
    refits: Annotated[int, Field(ge=0, le=8, description="scale refits between descents")] = 1
    damping: Annotated[
        float, Field(gt=0, le=1, description="ridge, share of the mean diagonal of H")
    ] = 0.1
    rows: Annotated[
        int,
        Field(ge=256, le=2**24, description="most rows in a layer's moments, over all examples"),
    ] = 49_152
    calibrator: Annotated[
        Literal["minmax", "percentile", "mse", "entropy"],
        Field(description="range of the activations"),
    ] = "mse"


@method(
    "gram",
    title="Gram-space rounding",
    options=GramOptions,
    citation="this project; relatives GPTQ arXiv:2210.17323, COMQ arXiv:2403.07134",
    signal="layer output error, second order",
    scope="layer",
    learnables="codes, scale, bias",
    data="unlabelled, 64 examples and more",
    cost="seconds",
    cells=("range/second_order", "rounding/second_order", "reconstruction/layer_error"),
    strategy="reconstruction",
    use="the first choice at 4 and 3 bits: most of what reconstruction gives, in seconds",
)
class Gram(Method):
    """Chooses codes, scales and biases that keep each layer's output, in closed form."""

    options: GramOptions

    def learn(self, model: QuantizedGraph, task: Task) -> Iterator[Event]:
        """Walk the graph once; every finished layer is an event and a checkpoint."""
        progress = LayerProgress(model, task)
        prefix = "quantized" if self.options.compensate else "float"
        walk = Walk(model, task.batches(), prefix=prefix)
        for stop, _ in progress.unfinished(walk, self.options.calibrator):
            signals = self._layer(model, stop, task)
            progress.finish(stop.layer)
            yield self.event(
                "layer", task, site=stop.layer.name, values=signals, **progress.count()
            )

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
            moments = self._gather(stop, view, task)
            signals.update(self._solve(model, stop, view, moments, task))
        return signals

    def _gather(self, stop: LayerStop, view: LinearView, task: Task) -> gram.Moments:
        wanted = min(self.options.rows, max(LEAST_ROWS, ROWS_PER_INPUT * view.inputs))
        positions = -(-wanted // max(1, task.examples))
        moments = gram.Moments(view.groups, view.inputs)
        for index, (floats, quantized) in enumerate(stop.arguments()):
            place = task.seed * 1_000_003 + index
            rows = _rows(view, quantized, positions, place)
            same = floats[0] is quantized[0]
            other = None if same else _rows(view, floats, positions, place)
            moments.add(rows, other)
        return moments

    def _solve(
        self,
        model: QuantizedGraph,
        stop: LayerStop,
        view: LinearView,
        moments: gram.Moments,
        task: Task,
    ) -> dict[str, float]:
        site = model.sites[view.weight.name]
        weight = view.matrix(model.weight(site.name).detach())
        centred = self.options.bias_correction and stop.layer.offset is not None
        problem = gram.pose(weight, moments, centred=centred, damping=self.options.damping)
        chosen = Codes(site.grid, site.shape)
        if site.grid.learns_levels:
            calibrate_weight(model, site, task.weight_calibrator)
            chosen.take(model.quantizer(site.name))
        solution = self._round(problem, view, site.grid, chosen.table())
        codes, scale, zero_point = solution.codes, solution.scale, solution.zero_point
        chosen.set_affine(view.scales(scale, site.grid), view.scales(zero_point, site.grid))
        chosen.set_codes(view.tensor(codes))
        model.set_quantizer(site.name, chosen)
        chosen.enabled = True
        rounded = view.matrix(chosen(model.weight(site.name)).detach())
        if centred:
            change = gram.corrected_bias(weight, rounded, moments).flatten()
            model.parameter(str(stop.layer.offset)).add_(change)
        size = float(problem.error(torch.zeros_like(weight)).sum()) + 1e-20
        return {
            "error_nearest": float(solution.first.sum()) / size,
            "error_learned": float(problem.error(rounded).sum()) / size,
            "flips": float((codes != solution.start).float().mean()),
        }

    def _round(
        self, problem: gram.Problem, view: LinearView, grid: Grid, levels: Tensor | None
    ) -> gram.Solution:
        return gram.solve(
            problem,
            grid,
            levels,
            blocks=view.blocks(grid),
            shared=grid.per_tensor,
            sweeps=self.options.sweeps,
            refits=self.options.refits,
        )


def _rows(view: LinearView, arguments: list, positions: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return view.rows(arguments, positions, generator)
