"""Bias correction: the mean error of each output channel is taken out of its bias.

Rounding weights by Ŵ - W does not only add noise, it moves the output by (Ŵ - W) E[x], the same for
every example (Nagel et al. 2019, arXiv:1906.04721, section 4.2). So

    b ← b - E[ŷ - y]             from data: y float, ŷ behind the quantized prefix
    b ← b - (Ŵ - W) E[x]         from batch norms, without data

where E[x] behind batch norm and Clip is the mean of a clipped normal distribution with mean β and
deviation |γ|. The paper corrects both ways, layer after layer; so does this. It moves biases only
and can follow any other stage; after one that corrects biases itself (`gram`), little is left.
Where rounding shrinks deviations as well, right means alone can make the output worse.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.errors import DataError
from workbench.foundation.options import Options
from workbench.graph.expected import Expected, expectations
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.methods.base import Event, Method, Task
from workbench.methods.calibrate import ensure_ranges
from workbench.methods.kept import Kept, upstream
from workbench.methods.linear import LinearView, views
from workbench.methods.outputs import (
    fixed,
    gather,
    movable,
    node_of,
    offset,
    original,
    shift,
    told,
)
from workbench.methods.registry import method
from workbench.methods.resume import LayerProgress, quantized_layers, weight_sites
from workbench.methods.walk import Walk

Source = Literal["auto", "data", "batch_norm"]


class BiasCorrectionOptions(Options):
    """Options of bias correction."""

    source: Annotated[
        Source,
        Field(description="examples, or batch-norm statistics; auto takes examples if there are"),
    ] = "auto"


@method(
    "bias_correction",
    title="Bias correction",
    options=BiasCorrectionOptions,
    citation="Nagel et al. 2019, arXiv:1906.04721",
    signal="mean of the layer output error",
    scope="layer",
    learnables="bias",
    data="unlabelled, 16 examples and more; none with batch norms",
    cost="seconds",
    cells=("reconstruction/layer_error", "reconstruction/prior"),
    strategy="constraints",
    use="a stage after rtn and equalize; bn_reestimation where depthwise layers lose deviation too",
)
class BiasCorrection(Method):
    """Shifts each bias so that no channel's output is off on average."""

    options: BiasCorrectionOptions

    def learn(self, model: QuantizedGraph, task: Task) -> Iterator[Event]:
        """One event a layer; ranges that no earlier stage has set come from nearest rounding."""
        progress = LayerProgress(model, task)
        yield from ensure_ranges(model, task)
        left = told(fixed(model))
        if left:
            yield self.event("note", task, text=left)
        from_data = self.options.source == "data" or (
            self.options.source == "auto" and task.examples > 0
        )
        learn = self._from_data if from_data else self._from_batch_norms
        yield from learn(model, task, progress)

    def keeps(self, model: QuantizedGraph, changed: Collection[Site]) -> Kept:
        """What lies before the first change."""
        return upstream(model, changed)

    def _from_data(
        self, model: QuantizedGraph, task: Task, progress: LayerProgress
    ) -> Iterator[Event]:
        walk = Walk(model, task.batches(), prefix="quantized")
        names = {layer.name for layer in movable(model)}
        for stop, weights in progress.unfinished(walk, None):
            signals: dict[str, float] = {}
            if stop.layer.name in names:
                seen = gather(walk, model, stop)
                change = seen.mean - seen.quantized_mean
                shift(model, stop.layer, change)
                signals = {"bias_shift": _relative(change, seen.deviation)}
            progress.finish(stop.layer)
            yield from progress.report(self, stop.layer, weights, signals)

    def _from_batch_norms(
        self, model: QuantizedGraph, task: Task, progress: LayerProgress
    ) -> Iterator[Event]:
        known = expectations(model.graph)
        if not known:
            raise DataError(
                "the model keeps no batch-norm statistics; correct its biases with source 'data'"
            )
        names = {layer.name for layer in movable(model)}
        for layer in quantized_layers(model):
            weights = weight_sites(model, layer)
            if progress.is_done(weights[0]):
                continue
            view = views(layer, node_of(model, layer.name))[0]
            change = _expected_error(model, view, known) if layer.name in names else None
            signals: dict[str, float] = {}
            if change is not None:
                shift(model, layer, -change)
                own = known.get(layer.output)
                spread = None if own is None else own.deviation
                signals = {} if spread is None else {"bias_shift": _relative(change, spread)}
            progress.finish(layer)
            yield from progress.report(self, layer, weights, signals)


@torch.no_grad()
def _expected_error(
    model: QuantizedGraph, view: LinearView, known: Mapping[str, Expected]
) -> Tensor | None:
    """(Ŵ - W) E[x] + b̂ - b of each output channel; None where nothing is known of the input.

    W and b are those of the float network, so that a correction made before is not made twice.
    """
    inputs = known.get(view.layer.input)
    per_group = view.inputs * view.groups
    if inputs is None or per_group % len(inputs.mean):
        return None
    name, added = view.weight.name, str(view.layer.offset)
    error = view.matrix(model.quantizer(name)(model.weight(name)) - original(model, name))
    moved = (offset(model, view.layer) - original(model, added)).flatten()
    taps = per_group // len(inputs.mean)
    mean = inputs.mean.repeat_interleave(taps).reshape(view.groups, view.inputs, 1)
    return expected_shift(error, mean).flatten() + moved


def expected_shift(error: Tensor, mean: Tensor) -> Tensor:
    """What a weight error `(..., outputs, inputs)` adds for inputs of mean `(..., inputs, 1)`.

    Example:
        >>> error = torch.tensor([[-0.09, 0.12, 0.07]])
        >>> round(float(expected_shift(error, torch.tensor([[1.0], [2.0], [0.5]]))), 6)
        0.185
    """
    return error @ mean.to(error.dtype)


def _relative(change: Tensor, deviation: Tensor) -> float:
    """Mean over channels of the shift, in deviations of the float output."""
    return float((change.abs() / deviation.clamp(min=1e-12)).mean())
