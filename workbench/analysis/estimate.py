"""How much each site hurts the output, estimated from one forward pass and a few backward ones.

A site's quantizer adds an error e to a tensor in the network. To first order the output moves by
J e, and the divergence from the float prediction p, which has no first-order term, is

    KL  ≈  ½ (J e)ᵀ F (J e),     F = diag(p) - p pᵀ = E[u uᵀ],     u = √p ⊙ v - p (√p · v)

with v of independent signs. A backward pass from u gives g = Jᵀ u at every tensor at once, and

    KL  ≈  ½ E[(gᵀ e)²].

The error of a weight is taken where it first meets data, at its layer's output, so that no gradient
of a weight is needed. Labels drawn from p have the same mean (Martens 2014, arXiv:1412.1193), but
where the network is sure they hardly ever differ, and few draws say little; u says something each
time. Where the output is no distribution but values, F is the identity and the damage ½ ‖Δz‖².

The products gᵀe of all sites are kept side by side: the mean of their products is a matrix C whose
entry (s, t) says what s and t do to the output together, so that any set of sites has the estimate
½ Σ C over the set.

What is gained by leaving one site float, all others being quantized, is read where the network then
is: with e the site's error there, and the divergence having a slope d there,

    KL(all) - KL(all but it)  ≈  dᵀ e - ½ C(s, s),

the slope passing each quantizer as if it did not round.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench.analysis.damage import Answer, OutputSums, TensorSums
from workbench.analysis.gradients import (
    Errors,
    Gradients,
    errors_between,
    example_axes,
    probes_of,
)
from workbench.analysis.partial import (
    FLOAT,
    PartialNetwork,
    everything,
    following,
)
from workbench.analysis.progress import Progress
from workbench.analysis.units import Unit
from workbench.graph.batching import count_examples
from workbench.graph.quantized import QuantizedGraph

Batch = tuple[tuple[Tensor, ...], Tensor | None]

DRAWS = 8


@dataclass(frozen=True)
class Estimated:
    """What one look at some data gave.

    Attributes:
        names: of the sites.
        together: (sites, sites) matrix whose sum over a set of sites is the divergence (nats per
            position) that they cause together.
        gains: of each site, the estimated fall of the divergence when it alone stays float.
        alone: the error of each site at its place, only it being quantized.
        gathered: the same with everything quantized.
        channels: share of a site's estimated damage that each channel carries, `(channels,)`; the
            shares sum to 1, and a channel that undoes what others do has a negative one.
        output: of the network with everything quantized, measured.
        unquantized: of the float network, whose loss and score it holds.
    """

    names: tuple[str, ...]
    together: Tensor
    gains: Mapping[str, float]
    alone: Mapping[str, TensorSums]
    gathered: Mapping[str, TensorSums]
    channels: Mapping[str, Tensor]
    output: OutputSums
    unquantized: OutputSums

    def kl(self, sites: Collection[str]) -> float:
        """Estimated divergence when these sites are quantized, in nats per position."""
        chosen = [i for i, name in enumerate(self.names) if name in sites]
        return float(self.together[chosen][:, chosen].sum())


class Estimator:
    """Looks at batches one by one. Iterating yields `Progress`; `result` is there afterwards.

    Args:
        model: calibrated or learned.
        units: its sites, as of `workbench.analysis.units.units`.
        batches: inputs and labels (None where there are none).
        answer: what the first output says.
        draws: backward passes for each batch. seed: of their signs.
    """

    def __init__(
        self,
        model: QuantizedGraph,
        units: Sequence[Unit],
        batches: Iterable[Batch],
        answer: Answer,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> None:
        self._model, self._units, self._answer, self._draws = model, units, answer, draws
        self._batches = list(batches)
        self._chance = torch.Generator().manual_seed(seed)
        self._frontier = following(model.module.graph.nodes)
        self._axes = example_axes(model, self._batches[0][0]) if self._batches else {}
        names = [unit.name for unit in units]
        self._sum = torch.zeros(len(names), len(names), dtype=torch.float64)
        self._slopes = torch.zeros(len(names), dtype=torch.float64)
        self._alone = dict.fromkeys(names, TensorSums())
        self._gathered = dict.fromkeys(names, TensorSums())
        self._channels: dict[str, Tensor] = {}
        self._output = self._unquantized = OutputSums()

    def __iter__(self) -> Iterator[Progress]:
        progress = Progress(len(self._batches) * (self._draws + 3))
        for inputs, labels in self._batches:
            network = PartialNetwork(self._model, inputs)
            self._measure(network, inputs, labels)
            yield progress.at(progress.step + 2)
            errors = self._errors(network)
            self._keep(network, errors)
            yield progress.at(progress.step + 1)
            for _ in self._products(network, errors, count_examples(self._specs, inputs)):
                yield progress.at(progress.step + 1)

    @property
    def _specs(self) -> Sequence[Any]:
        return self._model.graph.inputs

    @property
    def result(self) -> Estimated:
        """What the batches gave."""
        names = [unit.name for unit in self._units]
        positions = max(1.0, self._output.positions)
        together = self._sum * (0.5 / (self._draws * positions))
        gains = self._slopes / positions - together.diagonal()
        channels = self._channels.items()
        return Estimated(
            names=tuple(names),
            together=together,
            gains=dict(zip(names, gains.tolist(), strict=True)),
            alone=self._alone,
            gathered=self._gathered,
            channels={name: found / found.sum() for name, found in channels if found.sum() > 0},
            output=self._output,
            unquantized=self._unquantized,
        )

    def run(self) -> Estimated:
        """Look at everything and return it."""
        for _ in self:
            pass
        return self.result

    def _measure(
        self, network: PartialNetwork, inputs: tuple[Tensor, ...], labels: Tensor | None
    ) -> None:
        """Everything quantized: what gathers along the network, what comes out, and its slope."""
        quantized = PartialNetwork(self._model, inputs, everything(self._model))
        for unit in self._units:
            pair = network.values[unit.place], quantized.values[unit.place]
            self._gathered[unit.name] += TensorSums.between(*pair)
        reference, output = network.output({}), quantized.output({})
        self._output += OutputSums.between(reference, output, labels, self._answer)
        self._unquantized += OutputSums.between(reference, reference, labels, self._answer)
        errors = self._errors(quantized)
        probes = probes_of(errors)
        found, held = quantized.differentiable(probes)
        divergence = self._answer.divergence(reference, found)
        known = dict(
            zip(probes, torch.autograd.grad(divergence, held, allow_unused=True), strict=True)
        )
        self._slopes += torch.tensor(
            [
                sum(float((g * e).sum()) for n, e in own.items() if (g := known[n]) is not None)
                for own in errors
            ],
            dtype=torch.float64,
        )

    def _errors(self, network: PartialNetwork) -> list[Errors]:
        """For each site the error that its quantizer adds, where it first meets data."""
        values = network.values
        frontier = {node for node in self._frontier if isinstance(values[node], Tensor)}
        sign = 1.0 if network.base == FLOAT else -1.0
        found = []
        for unit in self._units:
            chosen = unit.setting if network.base == FLOAT else network.base - unit.setting
            met = errors_between(network, network.run(chosen, frontier), frontier)
            found.append({node: sign * error for node, error in met.items()})
        return found

    def _keep(self, network: PartialNetwork, errors: list[Errors]) -> None:
        for unit, own in zip(self._units, errors, strict=True):
            if unit.place in own:
                place = network.values[unit.place]
                self._alone[unit.name] += TensorSums.between(place, place + own[unit.place])

    def _products(
        self, network: PartialNetwork, errors: list[Errors], examples: int
    ) -> Iterator[None]:
        """Adds gᵀe of all sites for each draw."""
        probes = probes_of(errors)
        gradients = Gradients(network, probes, self._answer, self._axes, examples)
        for drawn in gradients.draw(self._draws, self._chance):
            rows = []
            for unit, found in zip(self._units, errors, strict=True):
                parts = gradients.parts(drawn, found)
                self._carry(unit.name, parts)
                rows.append(gradients.row(parts))
            stacked = torch.stack(rows)
            self._sum += stacked @ stacked.T
            yield

    def _carry(self, name: str, parts: Sequence[Tensor]) -> None:
        """What each channel of a site adds to its square, where the error is at one place."""
        if len(parts) == 1:
            carried = (parts[0] * parts[0].sum(dim=1, keepdim=True)).sum(dim=0)
            self._channels[name] = self._channels.get(name, 0.0) + carried
