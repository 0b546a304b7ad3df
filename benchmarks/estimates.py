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
from torch import Tensor
from torch.nn import functional

import workbench
from workbench.analysis.damage import Answer, curvature_root
from workbench.analysis.estimate import Batch, Estimator
from workbench.analysis.exact import Exact
from workbench.analysis.gradients import Drawn, Errors, Gradients, probes_of
from workbench.analysis.partial import PartialNetwork
from workbench.analysis.units import Unit, units
from workbench.graph.batching import count_examples
from workbench.graph.quantized import QuantizedGraph
from workbench.maths.metrics import spearman
from workbench.session.diagnosis import looked_at
from workbench.session.execute import quantized


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
            errors = self._errors(network)
            count = count_examples(self._specs, inputs)
            look = Gradients(network, probes_of(errors), self._answer, self._axes, count)
            logs = functional.log_softmax(look.scores, -1)
            for _ in range(self._draws):
                self._draw(look, logs, errors)
            best = logs.argmax(-1) if labels is None else labels.reshape(-1)
            task = -functional.one_hot(best.clamp(min=0), logs.shape[-1]).to(logs)
            slope = look.towards(logs, task)
            self._add("first order", [abs(sum(_dots(own, slope))) for own in errors])
            self._add("layer output", [_relative(own, network) for own in errors])
        return self.sums

    def _draw(self, look: Gradients, logs: Tensor, errors: list[Errors]) -> None:
        u = curvature_root(look.scores, self._answer, self._chance)
        g = look.towards(look.scores, u)
        self._add("random signs", _squares(look, g, errors))
        self._add("diagonal", [_diagonal(own, g) for own in errors])
        self._add("trace", [_trace(own, g) for own in errors])
        drawn = torch.multinomial(logs.detach().exp(), 1, generator=self._chance)
        chosen = torch.zeros_like(logs).scatter(-1, drawn, 1.0)
        self._add("drawn labels", _squares(look, look.towards(logs, chosen), errors))

    def _add(self, name: str, values: list[float]) -> None:
        new = torch.tensor(values, dtype=torch.float64)
        self.sums[name] = self.sums.get(name, torch.zeros_like(new)) + new


def _squares(look: Gradients, g: Drawn, errors: list[Errors]) -> list[float]:
    return [float(look.row(look.parts(g, own)).square().sum()) for own in errors]


def _relative(errors: Errors, network: PartialNetwork) -> float:
    pairs = ((network.values[node], error) for node, error in errors.items())
    return sum(float(error.square().sum() / value.square().sum()) for value, error in pairs)


def _dots(errors: Errors, g: Drawn) -> list[float]:
    return [float((x * e).sum()) for n, e in errors.items() if (x := g[n]) is not None]


def _diagonal(errors: Errors, g: Drawn) -> float:
    return sum(float((x * e).square().sum()) for n, e in errors.items() if (x := g[n]) is not None)


def _trace(errors: Errors, g: Drawn) -> float:
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
