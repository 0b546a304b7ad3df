"""Ways to rank sites by one look at the gradients, against the measured damage of each.

    python -m benchmarks.estimates digits-mobilenet --weights 4 --activations 8

Every candidate sees the same errors e of the same sites, the same examples, and as many backward
passes; what is told is its Spearman rank correlation with the KL divergence that was measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, fx
from torch.nn import functional

import workbench
from workbench.analysis.damage import Answer, curvature_root
from workbench.analysis.estimate import Batch, Estimator
from workbench.analysis.exact import Exact
from workbench.analysis.partial import PartialNetwork
from workbench.analysis.units import Unit, units
from workbench.graph.batching import count_examples
from workbench.graph.quantized import QuantizedGraph
from workbench.maths.metrics import spearman
from workbench.session.diagnosis import looked_at
from workbench.session.execute import quantized

Gradients = dict[fx.Node, Tensor | None]


class _Look:
    """One batch with its graph of gradients."""

    def __init__(
        self, network: PartialNetwork, errors: list[dict[fx.Node, Tensor]], answer: Answer
    ) -> None:
        self.errors = errors
        self._probes = list(dict.fromkeys(node for own in errors for node in own))
        output, self._held = network.differentiable(self._probes)
        self.scores = answer.scores(output)
        self.logs = functional.log_softmax(self.scores, -1)

    def gradients(self, u: Tensor, of: Tensor) -> Gradients:
        """Of `of` in the direction of `u`, at every place with an error."""
        found = torch.autograd.grad(of, self._held, u, retain_graph=True, allow_unused=True)
        return dict(zip(self._probes, found, strict=True))


class Candidates(Estimator):
    """The estimator, and beside it what others make of the same errors and gradients."""

    def __init__(
        self, model: QuantizedGraph, found: list[Unit], batches: Iterable[Batch], draws: int
    ) -> None:
        super().__init__(model, found, batches, Answer.of(model.graph), draws)
        self.sums: dict[str, Tensor] = {}

    def compare(self) -> dict[str, Tensor]:
        """By candidate a number for each site, larger for worse."""
        for inputs, labels in self._batches:
            network = PartialNetwork(self._model, inputs)
            look = _Look(network, self._errors(network), self._answer)
            for _ in range(self._draws):
                self._draw(look, count_examples(self._specs, inputs))
            best = look.logs.argmax(-1) if labels is None else labels.reshape(-1)
            task = -functional.one_hot(best.clamp(min=0), look.logs.shape[-1]).to(look.logs)
            slope = look.gradients(task, look.logs)
            self._add("first order", [abs(sum(_dots(own, slope))) for own in look.errors])
            self._add("layer output", [_relative(own, network) for own in look.errors])
        return self.sums

    def _draw(self, look: _Look, examples: int) -> None:
        u = curvature_root(look.scores, self._answer, self._chance)
        g = look.gradients(u, look.scores)
        self._add("random signs", self._squares(g, look.errors, examples))
        self._add("diagonal", [_diagonal(own, g) for own in look.errors])
        self._add("trace", [_trace(own, g) for own in look.errors])
        drawn = torch.multinomial(look.logs.detach().exp(), 1, generator=self._chance)
        chosen = torch.zeros_like(look.logs).scatter(-1, drawn, 1.0)
        labels = look.gradients(chosen, look.logs)
        self._add("drawn labels", self._squares(labels, look.errors, examples))

    def _squares(
        self, g: Gradients, errors: list[dict[fx.Node, Tensor]], examples: int
    ) -> list[float]:
        pairs = zip(self._units, errors, strict=True)
        return [float(self._row(u.name, g, own, examples).square().sum()) for u, own in pairs]

    def _add(self, name: str, values: list[float]) -> None:
        new = torch.tensor(values, dtype=torch.float64)
        self.sums[name] = self.sums.get(name, torch.zeros_like(new)) + new


def _relative(errors: dict[fx.Node, Tensor], network: PartialNetwork) -> float:
    pairs = ((network.values[node], error) for node, error in errors.items())
    return sum(float(error.square().sum() / value.square().sum()) for value, error in pairs)


def _dots(errors: dict[fx.Node, Tensor], g: Gradients) -> list[float]:
    return [float((x * e).sum()) for n, e in errors.items() if (x := g[n]) is not None]


def _diagonal(errors: dict[fx.Node, Tensor], g: Gradients) -> float:
    return sum(float((x * e).square().sum()) for n, e in errors.items() if (x := g[n]) is not None)


def _trace(errors: dict[fx.Node, Tensor], g: Gradients) -> float:
    known = ((x, e) for n, e in errors.items() if (x := g[n]) is not None)
    return sum(float(x.square().mean() * e.square().sum()) for x, e in known)


def main() -> None:
    """Print the rank correlations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--weights", type=int, default=4)
    parser.add_argument("--activations", type=int, default=8)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--examples", type=int, default=128)
    parser.add_argument("--draws", type=int, default=8)
    given = parser.parse_args()
    session = workbench.open(given.model, data=given.data)
    recipe = session.recipe(given.weights, given.activations, "rtn", edges=None)
    model = quantized(session, looked_at(session, recipe)).eval()
    batches = list(session.judging(recipe).judged("test", session.batch_size, given.examples))
    found = units(model)
    settings = {unit.name: unit.setting for unit in found}
    exact = Exact(model, settings, batches, Answer.of(model.graph)).run()
    measured = torch.tensor([exact.alone[unit.name].kl for unit in found])
    for name, values in Candidates(model, found, batches, given.draws).compare().items():
        print(f"{name:14} {spearman(values, measured):.3f}")


if __name__ == "__main__":
    main()
