"""What each weight at each number of bits does to the prediction, in nats of KL to the float one.

    exact     the network is run with this weight alone quantized, the rest in float
    fisher    ½ E[(gᵀe)²]          g: gradient of log p(y) at the layer's output, y ~ p
                                   e: what quantizing the weight changes there
    hawq      ½ Tr(H) / n ‖W - Q(W)‖²         (HAWQ-V2, arXiv:1911.03852; see `trace`)

The second is the Gauss-Newton form of the first for small errors: the gradients are taken once, and
each further width costs one run of its layer. The same products of two weights, E[(gᵀe_i)(gᵀe_j)],
say what they do to each other beyond the sum of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.nn import functional

from workbench.analysis.bits.candidates import Candidates
from workbench.analysis.bits.problem import Pair, Problem, Table
from workbench.analysis.partial import PartialNetwork, Setting
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import RECURRENT
from workbench.graph.taps import calls
from workbench.maths import metrics

Batch = tuple[Tensor, ...]
Watch = Callable[[int, int], None]

DRAWS = 4  # labels drawn for each prediction


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
    open_sites = [candidates.model.sites[name] for name in candidates.widths]
    model = QuantizedGraph(candidates.model.graph, open_sites).eval()
    sums = {name: dict.fromkeys(widths, 0.0) for name, widths in candidates.widths.items()}
    total, done = len(batches) * len(candidates), 0
    for inputs in batches:
        network = PartialNetwork(model, inputs)
        reference = network.output({})
        for name, bits in candidates:
            model.set_quantizer(name, candidates.quantizer(name, bits))
            found = network.output(network.run(Setting(frozenset([name]))))
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
    """Gauss-Newton harm from the gradients of drawn labels; see `Fisher`.

    Args:
        candidates: the weights, with their widths.
        batches: inputs.
        seed: of the labels; draws: how many for each prediction.
        watch: told how many batches are done, and of how many.
    """
    generator = torch.Generator().manual_seed(seed)
    keys = tuple(candidates)
    joint = torch.zeros(len(keys), len(keys), dtype=torch.float64)
    predictions = 0
    for step, inputs in enumerate(batches, 1):
        recorder = _Recorder(candidates)
        logits = recorder.run(*inputs)[0]
        predictions += logits.reshape(-1, logits.shape[-1]).shape[0]
        products = recorder.products(logits, len(inputs[0]), generator, draws)
        joint += 0.5 * (products @ products.T) / draws
        watch(step, len(batches))
    joint /= max(1, predictions)
    harm: dict[str, dict[int, float]] = {name: {} for name in candidates.widths}
    for index, (name, bits) in enumerate(keys):
        harm[name][bits] = float(joint[index, index])
    return Fisher(harm, keys, joint)


class _Recorder(fx.Interpreter):
    """Runs the float network and keeps what the readers of open weights take and give."""

    def __init__(self, candidates: Candidates) -> None:
        super().__init__(candidates.model.graph.module)
        self._candidates = candidates
        self._readers = _readers(candidates)
        self._held: dict[fx.Node, tuple[tuple, dict, tuple[Tensor, ...], list[Tensor]]] = {}

    def run_node(self, n: fx.Node) -> object:
        """As ever, with a leaf added to each output of a reader, where the gradient is read."""
        if n not in self._readers:
            return super().run_node(n)
        arguments, keywords = self.fetch_args_kwargs_from_env(n)
        with torch.no_grad():
            outputs = n.target(*arguments, **keywords)  # type: ignore[operator]
        single = isinstance(outputs, Tensor)
        plain = (outputs,) if single else tuple(outputs)
        leaves = [torch.zeros_like(value, requires_grad=True) for value in plain]
        connected = super().run_node(n)
        parts = (connected,) if single else tuple(connected)
        self._held[n] = arguments, keywords, plain, leaves
        added = tuple(part + leaf for part, leaf in zip(parts, leaves, strict=True))
        return added[0] if single else added

    def products(
        self, logits: Tensor, examples: int, generator: torch.Generator, draws: int
    ) -> Tensor:
        """gᵀe of each weight and width (rows) for each example of each draw (columns)."""
        nodes = list(self._held)
        leaves = [leaf for node in nodes for leaf in self._held[node][3]]
        logs = functional.log_softmax(logits.reshape(-1, logits.shape[-1]), dim=-1)
        chances = logs.detach().exp()
        gradients = []
        for draw in range(draws):
            label = torch.multinomial(chances, 1, generator=generator)
            found = torch.autograd.grad(
                logs.gather(1, label).sum(),
                leaves,
                retain_graph=draw < draws - 1,
                materialize_grads=True,
                allow_unused=True,
            )
            each = iter(found)
            gradients.append({node: [next(each) for _ in self._held[node][3]] for node in nodes})
        return torch.stack([self._row(key, gradients, examples) for key in self._candidates])

    @torch.no_grad()
    def _row(
        self, key: tuple[str, int], gradients: Sequence[Mapping[fx.Node, list[Tensor]]], count: int
    ) -> Tensor:
        name, bits = key
        weight = self._candidates.rounded(name, bits)
        total = torch.zeros(len(gradients), count, dtype=torch.float64)
        for node, index in self._readers_of(name):
            arguments, keywords, plain, _ = self._held[node]
            changed = list(arguments)
            changed[index] = weight
            found = node.target(*changed, **keywords)  # type: ignore[operator]
            parts = (found,) if isinstance(found, Tensor) else tuple(found)
            for place, (part, before) in enumerate(zip(parts, plain, strict=True)):
                error = part - before
                for draw, gradient in enumerate(gradients):
                    product = gradient[node][place] * error
                    total[draw] += _by_example(product, count, _batch_axis(node))
        return total.flatten()

    def _readers_of(self, name: str) -> Iterator[tuple[fx.Node, int]]:
        for node, own in self._readers.items():
            yield from ((node, index) for site, index in own if site == name)


def _readers(candidates: Candidates) -> dict[fx.Node, list[tuple[str, int]]]:
    """The calls that read open weights, each with the weights and their places among its inputs."""
    known = calls(candidates.model.graph.module)
    found: dict[fx.Node, list[tuple[str, int]]] = {}
    for name in candidates.widths:
        for reader, index in candidates.model.sites[name].edges:
            found.setdefault(known[reader], []).append((name, index))
    return found


def _batch_axis(node: fx.Node) -> int:
    """Recurrences give (time, direction, batch, units) and (direction, batch, units)."""
    return -2 if node.meta["op_type"] in RECURRENT else 0


def _by_example(product: Tensor, examples: int, axis: int) -> Tensor:
    """Sums for each example; where the examples cannot be told apart, all in the first one's place.

    Scores of different examples are independent with a mean of zero, so their common square is
    right on average too, with more noise.
    """
    moved = product.movedim(axis, 0) if product.ndim else product.reshape(1)
    if len(moved) % examples == 0:
        return moved.reshape(examples, -1).sum(1, dtype=torch.float64)
    found = torch.zeros(examples, dtype=torch.float64)
    found[0] = product.sum(dtype=torch.float64)
    return found
