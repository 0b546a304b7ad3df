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
from torch import Tensor, fx

from workbench.analysis.damage import Answer, OutputSums, TensorSums, curvature_root
from workbench.analysis.partial import (
    FLOAT,
    PartialNetwork,
    everything,
    following,
)
from workbench.analysis.progress import Progress
from workbench.analysis.units import Unit
from workbench.graph.batching import count_examples, first_examples, is_free
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.taps import channel_axis

Batch = tuple[tuple[Tensor, ...], Tensor | None]
Errors = dict[fx.Node, Tensor]

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
        probes = _probes(errors)
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
            changed = network.run(chosen, frontier)
            met = {n: v for n, v in changed.items() if n in frontier and v.is_floating_point()}
            found.append({node: sign * (value - values[node]) for node, value in met.items()})
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
        probes = _probes(errors)
        output, held = network.differentiable(probes)
        scores = self._answer.scores(output)
        apart = all(self._axes.get(node) is not None for node in probes)
        for draw in range(self._draws):
            u = curvature_root(scores, self._answer, self._chance)
            gradients = torch.autograd.grad(
                scores, held, u, retain_graph=draw < self._draws - 1, allow_unused=True
            )
            known = dict(zip(probes, gradients, strict=True))
            rows = [
                self._row(unit.name, known, found, examples if apart else 1)
                for unit, found in zip(self._units, errors, strict=True)
            ]
            stacked = torch.stack(rows)
            self._sum += stacked @ stacked.T
            yield

    def _row(
        self,
        name: str,
        gradients: Mapping[fx.Node, Tensor | None],
        errors: Mapping[fx.Node, Tensor],
        examples: int,
    ) -> Tensor:
        """gᵀe of one site for each example, `(examples,)`; the channels' parts are kept aside."""
        parts = []
        for node, error in errors.items():
            gradient = gradients[node]
            if gradient is not None:
                parts.append(self._by_channel(node, gradient * error, examples))
        if not parts:
            return torch.zeros(examples, dtype=torch.float64)
        if len(parts) == 1:
            carried = (parts[0] * parts[0].sum(dim=1, keepdim=True)).sum(dim=0)
            self._channels[name] = self._channels.get(name, 0.0) + carried
        return torch.stack([part.sum(dim=1) for part in parts]).sum(dim=0)

    def _by_channel(self, node: fx.Node, product: Tensor, examples: int) -> Tensor:
        """Sums over positions, `(examples, channels)`, or of all examples in one."""
        axis = self._axes.get(node)
        maker = node.all_input_nodes[0] if node.op == "call_module" else node
        channel = channel_axis(maker, product.ndim)
        if product.ndim < 2 or axis == channel % product.ndim:
            rows = product if axis is None else product.movedim(axis, 0)
            return rows.reshape(examples, -1).sum(dim=1, keepdim=True).double()
        moved = product.movedim(channel, -1)
        if examples > 1 and axis is not None:
            moved = moved.movedim(axis - int(axis > channel % product.ndim), 0)
        return moved.reshape(examples, -1, moved.shape[-1]).sum(dim=1).double()


def _probes(errors: Iterable[Errors]) -> list[fx.Node]:
    return list(dict.fromkeys(node for found in errors for node in found))


@torch.no_grad()
def example_axes(model: QuantizedGraph, inputs: tuple[Tensor, ...]) -> dict[fx.Node, int | None]:
    """The axis of each node's value along which the examples of a batch follow one another.

    It is the one that doubles from one example to two, if its first half is then the value of the
    first example; otherwise None, as in a network whose batch is fixed.
    """
    specs = model.graph.inputs
    if not is_free(specs) or count_examples(specs, inputs) < 2:
        return {}
    one, two = (
        PartialNetwork(model, first_examples(specs, inputs, count)).values for count in (1, 2)
    )
    return {node: _doubled(one[node], two[node]) for node in one}


def _doubled(one: object, two: object) -> int | None:
    if not (isinstance(one, Tensor) and isinstance(two, Tensor)) or one.ndim != two.ndim:
        return None
    for axis, (a, b) in enumerate(zip(one.shape, two.shape, strict=True)):
        if b == 2 * a and a and two.narrow(axis, 0, a).shape == one.shape:
            same = torch.allclose(two.narrow(axis, 0, a).double(), one.double(), 1e-3, 1e-4)
            return axis if same else None
    return None
