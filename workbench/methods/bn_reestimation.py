"""Batch-norm re-estimation where the norms are folded: each channel gets back its statistics.

Running statistics of a float network no longer hold once its weights are quantized, and networks
that still have their batch norms measure them again (CalibTIP, Hubara et al. 2020,
arXiv:2006.10518; Nagel et al. 2022, arXiv:2203.11086). A folded norm left two numbers for each
output channel, and both can be set again without a norm:

    s_c ← s_c σ_c / σ̂_c                     the scale of the channel's weights, codes unchanged
    b_c ← μ_c - (σ_c / σ̂_c) (μ̂_c - b_c)     its bias

μ, σ are the mean and deviation that the channel had in the float network on the same examples, or
those that training saw (β and |γ|, kept from folding); μ̂, σ̂ are measured behind the quantized
prefix. On one scale per tensor only the bias is set.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.errors import DataError
from workbench.foundation.options import Options
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Layer, Site
from workbench.methods.base import Event, Method, Task
from workbench.methods.calibrate import ensure_ranges
from workbench.methods.kept import Kept, upstream
from workbench.methods.outputs import (
    Outputs,
    fixed,
    gather,
    movable,
    offset,
    rescale,
    shift,
    told,
)
from workbench.methods.registry import method
from workbench.methods.resume import LayerProgress
from workbench.methods.walk import Walk

Stated = dict[str, tuple[Tensor, Tensor]]


class BnReestimationOptions(Options):
    """Options of batch-norm re-estimation."""

    target: Annotated[
        Literal["float", "batch_norm"],
        Field(description="what the statistics shall be: the float network's, or training's"),
    ] = "float"
    rescale: Annotated[bool, Field(description="set deviations too, not only means")] = True
    limit: Annotated[
        float, Field(ge=1, le=16, description="a channel is scaled by no more than this")
    ] = 2.0


@method(
    "bn_reestimation",
    title="Batch-norm re-estimation",
    options=BnReestimationOptions,
    citation="Hubara et al. 2020, arXiv:2006.10518; Nagel et al. 2022, arXiv:2203.11086",
    signal="mean and deviation of the layer output",
    scope="layer",
    learnables="scale, bias",
    data="unlabelled, 64 examples and more",
    cost="seconds",
    cells=("reconstruction/prior", "reconstruction/layer_error", "export/prior"),
    strategy="constraints",
    use="a last stage at 4 bits and below, after rtn or training; above all with depthwise layers",
)
class BnReestimation(Method):
    """Gives each channel back the mean and deviation that it has in the float network."""

    options: BnReestimationOptions

    def learn(self, model: QuantizedGraph, task: Task) -> Iterator[Event]:
        """One event a layer; ranges that no earlier stage has set come from nearest rounding."""
        progress = LayerProgress(model, task)
        yield from ensure_ranges(model, task)
        left = told(fixed(model))
        if left:
            yield self.event("note", task, text=left)
        stated = self._stated(model)
        names = {layer.name for layer in movable(model)}
        walk = Walk(model, task.batches(), prefix="quantized")
        for stop, weights in progress.unfinished(walk, None):
            signals: dict[str, float] = {}
            wanted = stated is None or stop.layer.output in stated
            if stop.layer.name in names and wanted:
                signals = self._mend(model, stop.layer, gather(walk, model, stop), stated)
            progress.finish(stop.layer)
            yield from progress.report(self, stop.layer, weights, signals)

    def keeps(self, model: QuantizedGraph, changed: Collection[Site]) -> Kept:
        """What lies before the first change."""
        return upstream(model, changed)

    def _stated(self, model: QuantizedGraph) -> Stated | None:
        """Mean and deviation that training saw, by value; None where the float network is asked."""
        if self.options.target == "float":
            return None
        nodes = model.graph.model.graph
        values = (value for node in nodes for value in node.outputs if "batch_norm" in value.meta)
        found = {str(value.name): value.meta["batch_norm"] for value in values}
        if not found:
            raise DataError("the model keeps no batch-norm statistics; choose the target 'float'")
        return found

    @torch.no_grad()
    def _mend(
        self, model: QuantizedGraph, layer: Layer, seen: Outputs, stated: Stated | None
    ) -> dict[str, float]:
        mean, deviation = seen.mean, seen.deviation
        if stated is not None:
            mean, deviation = (part.double() for part in stated[layer.output])
        ratio = seen.quantized_deviation / deviation.clamp(min=1e-12)
        factors = self._factors(ratio, deviation)
        site = model.sites[layer.weights[0].name]
        if not self.options.rescale or not rescale(model, site, layer, factors):
            factors = torch.ones_like(factors)
        before = offset(model, layer).double().flatten()
        after = mean - factors * (seen.quantized_mean - before)
        shift(model, layer, after - before)
        change = (seen.quantized_mean - mean).abs() / deviation.clamp(min=1e-12)
        alive = deviation > 1e-12
        return {
            "mean_error": float(change[alive].mean()) if bool(alive.any()) else 0.0,
            "deviation_ratio": float(ratio[alive].mean()) if bool(alive.any()) else 1.0,
        }

    def _factors(self, ratio: Tensor, deviation: Tensor) -> Tensor:
        """σ / σ̂ within the limit; 1 for a channel that is dead in either network."""
        alive = (deviation > 1e-12) & (ratio > 1e-6)
        wanted = torch.where(alive, 1 / ratio.clamp(min=1e-12), 1.0)
        return wanted.clamp(1 / self.options.limit, self.options.limit)
