"""What each site at each number of bits does to the prediction, in nats of KL to the float one.

    exact     the network is run with this site alone quantized, the rest in float
    fisher    ½ E[(gᵀe)²]          e: what quantizing it changes, of a weight where it meets data
                                   g: gradient there, of a random root of the answer's curvature
    hawq      ½ Tr(H) / n ‖W - Q(W)‖²         (HAWQ-V2, arXiv:1911.03852; see `trace`)

The second is the Gauss-Newton form of the first for small errors (`analysis.gradients`): the
gradients are taken once, and each further width costs one run of its layer. The same products of
two weights, E[(gᵀe_i)(gᵀe_j)], say what they do to each other beyond the sum of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from workbench.analysis.bits.candidates import Candidates
from workbench.analysis.bits.problem import Pair, Problem, Table
from workbench.analysis.damage import Answer
from workbench.analysis.gradients import Gradients, errors_between, example_axes, probes_of
from workbench.analysis.partial import PartialNetwork, Setting, following
from workbench.graph.batching import count_examples
from workbench.graph.quantized import QuantizedGraph
from workbench.maths import metrics

Batch = tuple[Tensor, ...]
Watch = Callable[[int, int], None]

DRAWS = 4  # backward passes for each batch
ANSWER = Answer()  # as `exact` compares: the first output holds logits


def _silent(step: int, total: int) -> None:
    """Nobody watches."""


@torch.no_grad()
def exact(candidates: Candidates, batches: Sequence[Batch], watch: Watch = _silent) -> Table:
    """KL (nats, mean over predictions) of the network in which one weight alone is quantized.

    Args:
        candidates: the weights, with their widths.
        batches: inputs.
        watch: told how many of the runs are done, and of how many.
    """
    model = _alone(candidates)
    sums = {name: dict.fromkeys(widths, 0.0) for name, widths in candidates.widths.items()}
    total, done = len(batches) * len(candidates), 0
    for inputs in batches:
        network = PartialNetwork(model, inputs)
        reference = network.output({})
        for name, bits in candidates:
            model.set_quantizer(name, candidates.quantizer(name, bits))
            found = network.output(network.run(_only(candidates, name)))
            sums[name][bits] += metrics.kl_divergence(reference, found) * len(reference)
            done += 1
            watch(done, total)
    count = sum(len(inputs[0]) for inputs in batches)
    return {name: {b: value / count for b, value in row.items()} for name, row in sums.items()}


@dataclass(frozen=True)
class Fisher:
    """Second-order harm of every weight and width, alone and by twos.

    Attributes:
        harm: by weight and bits, in nats.
        keys: weight and bits of each row of `joint`.
        joint: ½ E[(gᵀe_i)(gᵀe_j)], (K, K).
    """

    harm: Table
    keys: tuple[tuple[str, int], ...]
    joint: Tensor

    def pairs(self, problem: Problem, names: Iterable[tuple[str, str]]) -> tuple[Pair, ...]:
        """The terms of some pairs of weights, for the choices that they have in a problem."""
        place = {key: index for index, key in enumerate(self.keys)}
        found = []
        for first, second in names:
            one, other = problem.by_name[first], problem.by_name[second]
            rows = [place[first, bits] for bits in one.bits]
            columns = [place[second, bits] for bits in other.bits]
            table = 2 * self.joint[rows][:, columns]
            found.append(Pair(first, second, tuple(map(tuple, table.tolist()))))
        return tuple(found)


def fisher(
    candidates: Candidates,
    batches: Sequence[Batch],
    seed: int = 0,
    draws: int = DRAWS,
    watch: Watch = _silent,
) -> Fisher:
    """Gauss-Newton harm from a few backward passes; see `Fisher`.

    Args:
        candidates: the weights, with their widths.
        batches: inputs.
        seed: of the draws; draws: backward passes for each batch.
        watch: told how many batches are done, and of how many.
    """
    chance = torch.Generator().manual_seed(seed)
    keys, model = tuple(candidates), _alone(candidates)
    axes = example_axes(model, batches[0]) if batches else {}
    joint = torch.zeros(len(keys), len(keys), dtype=torch.float64)
    predictions = 0
    for step, inputs in enumerate(batches, 1):
        network = PartialNetwork(model, inputs)
        places = _places(candidates, network)
        probes = probes_of(places.values())
        examples = count_examples(model.graph.inputs, inputs)
        gradients = Gradients(network, probes, ANSWER, axes, examples)
        predictions += len(gradients.scores)
        drawn = list(gradients.draw(draws, chance))
        rows = []
        for name, bits in keys:
            model.set_quantizer(name, candidates.quantizer(name, bits))
            changed = network.run(_only(candidates, name), places[name])
            errors = errors_between(network, changed, places[name])
            rows.append(torch.cat([gradients.row(gradients.parts(g, errors)) for g in drawn]))
        products = torch.stack(rows)
        joint += 0.5 * (products @ products.T) / draws
        watch(step, len(batches))
    joint /= max(1, predictions)
    harm: dict[str, dict[int, float]] = {name: {} for name in candidates.widths}
    for index, (name, bits) in enumerate(keys):
        harm[name][bits] = float(joint[index, index])
    return Fisher(harm, keys, joint)


def _alone(candidates: Candidates) -> QuantizedGraph:
    """The network with quantizers on open sites alone, which are put there one by one."""
    sites = [site for name in candidates.widths for site in candidates.group(name)]
    return QuantizedGraph(candidates.model.graph, sites).eval()


def _only(candidates: Candidates, name: str) -> Setting:
    return Setting(frozenset(site.name for site in candidates.group(name)))


def _places(candidates: Candidates, network: PartialNetwork) -> dict[str, set[fx.Node]]:
    """For each weight the nodes where it first meets data."""
    frontier = {n for n in following(network.values) if isinstance(network.values[n], Tensor)}
    return {
        name: frontier.intersection(network.run(_only(candidates, name), frontier))
        for name in candidates.widths
    }
