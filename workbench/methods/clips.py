"""The clips of all tensors as one point, and what the network's output loses at it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import compress

import torch
from torch import Tensor

from workbench.graph.batching import count_examples
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.maths.calibrators.mse import least_error
from workbench.maths.ranges import fitted_range, samples
from workbench.methods.base import Batch, SiteSignals, Task
from workbench.methods.calibrate import Observers
from workbench.methods.readings import of_sites
from workbench.quantizers.codes import Codes
from workbench.signals.distillation import distillation


class Clips:
    """The clip of every weight and activation that has its own; codes chosen before are kept."""

    def __init__(self, model: QuantizedGraph) -> None:
        self._model = model
        self._observers = Observers(model, "mse")
        found = (*model.of_kind("weight"), *model.of_kind("activation"))
        self._sites = [site for site in found if site.shares is None]
        self._base: list[tuple[Tensor, Tensor]] = []

    def __len__(self) -> int:
        return len(self._sites)

    def see(self, batch: Batch) -> None:
        """Observe the activations of a batch in the float network."""
        self._observers.see(batch)

    def fit(self, norm: float) -> None:
        """Set every clip to the one with the least |x̂ - x|^norm of its own tensor."""
        for site in self._sites:
            self._fit(site, norm)
        self._base = [
            (scale.clone(), zero.clone())
            for scale, zero in (self._model.quantizer(s.name).affine() for s in self._sites)
        ]

    def scale(self, point: Tensor) -> None:
        """Multiply the clips that `fit` found by e^point, a number for each tensor."""
        for site, (scale, zero), factor in zip(self._sites, self._base, point.exp(), strict=True):
            self._model.quantizer(site.name).set_affine(scale * float(factor), zero)

    def signals(self, chosen: Sequence[bool]) -> dict[str, SiteSignals]:
        """What is to be seen at the chosen tensors, in the order of the point's numbers."""
        return of_sites(self._model, compress(self._sites, chosen), self._observers)

    def _fit(self, site: Site, norm: float) -> None:
        quantizer, grid = self._model.quantizer(site.name), site.grid
        if isinstance(quantizer, Codes):
            return
        if grid.learns_levels:
            quantizer.fit(self._model.weight(site.name).detach(), "mse")
        elif site.kind == "activation":
            seen = samples(self._observers[site.name])
            quantizer.set_range(*least_error(seen, grid, norm))
        else:
            least = partial(least_error, norm=norm)
            quantizer.set_range(*fitted_range(self._model.weight(site.name), grid, least))


class OutputLoss:
    """KL(softmax(z_float) ‖ softmax(z_quantized)) of the first output, over some examples."""

    def __init__(self, model: QuantizedGraph) -> None:
        self._model = model
        self._batches: list[tuple[Batch, Tensor, int]] = []

    @torch.no_grad()
    def add(self, batch: Batch) -> None:
        """Judge on these examples too."""
        count = count_examples(self._model.graph.inputs, batch)
        self._batches.append((batch, self._model.graph.module(*batch)[0], count))

    @torch.no_grad()
    def __call__(self) -> float:
        """In nats, averaged over the examples."""
        total = 0.0
        for batch, teacher, count in self._batches:
            total += count * float(distillation(teacher, self._model(*batch)[0]))
        return total / sum(count for _, _, count in self._batches)


def observed(
    model: QuantizedGraph, task: Task, clips: Clips, loss: OutputLoss, examples: int
) -> Iterator[int]:
    """Show all batches to the clips and the first `examples` to the loss; yields those seen."""
    seen = 0
    for batch in task.batches():
        clips.see(batch)
        if seen < examples:
            loss.add(batch)
        seen += count_examples(model.graph.inputs, batch)
        yield min(seen, task.examples)
