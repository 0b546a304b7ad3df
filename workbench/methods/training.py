"""How one unit learns: gradient descent on its plan's signals, watched on held-out batches.

    min over the learnables of Σ weight · signal(unit(x), unit_quantized(x̂))

x comes from the float prefix, x̂ from the float or the quantized one, or from a random mix of both,
element by element, where activations inside are mixed too (QDrop, arXiv:2203.05740).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from workbench.foundation.seeds import seed_of
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.taps import channel_axis
from workbench.methods.base import SiteSignals, Task
from workbench.methods.concerns import Concern, Watch
from workbench.methods.learners import Learners
from workbench.methods.plan import Learnable, Plan
from workbench.methods.readings import Readings, arriving, gathered, gradients
from workbench.methods.shelf import Shelf
from workbench.methods.walk import UnitStop
from workbench.signals.base import Output, Seen
from workbench.signals.fisher import importance
from workbench.signals.registry import SIGNALS

CHECKS, APART = 20, 50  # checks of a unit at most, and steps between them at least
JUDGED = 4  # batches that judge
WORSE = 1.2  # times the error of nearest rounding: more than chance in a few examples
FEWEST = 4  # batches, for some to be held out
REGULARISERS = frozenset(e.name for e in SIGNALS if "roundings" in e.facts.get("needs", ()))


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        values: by name, among them "loss", each signal's part, "gradient" and "held_out".
        counts: histograms.
        sites: signals of each site.
    """

    step: int
    values: dict[str, float] = field(default_factory=dict)
    counts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    sites: dict[str, SiteSignals] = field(default_factory=dict)


class Training:
    """The learning of one unit.

    Attributes:
        outcome: the last report, of the state that learning ended with.
        concerns: what went wrong, each with a cure; known when `run` has ended.
    """

    def __init__(self, model: QuantizedGraph, stop: UnitStop, plan: Plan, task: Task) -> None:
        self._stop = stop
        self._plan = plan
        self._steps = plan.schedule.iterations
        self._learners = Learners(model, stop, plan)
        self._model = model
        self._program = stop.program(self._learners.moving, self._learners.value)
        seed = f"{task.seed}/{stop.unit.name}"
        self._chance = torch.Generator().manual_seed(seed_of(seed))
        held = round(plan.schedule.held_out * stop.count) if stop.count >= FEWEST else 0
        held = max(held, 1) if plan.schedule.held_out and stop.count >= FEWEST else held
        self._train = range(stop.count - held)
        self._held = range(stop.count - held, stop.count)
        self._judge = (self._held or self._train)[:JUDGED]
        self._shelf = Shelf()
        self._known: list[tuple[object, object, object]] = []
        self._axes: tuple[int, ...] = ()
        self._active = self._learners.own_activations(stop)
        self._watch = Watch(stop.unit.name)
        self._norms: dict[str, float] = {}
        self.outcome = Report(0)
        self.concerns: list[Concern] = []

    def run(self) -> Iterator[Report]:
        """Learn; yields a report at each check, and ends with the codes in place."""
        try:
            if self._learners.parameters():
                self._remember()
                yield from self._descend()
            self._learners.harden()
        finally:
            self._shelf.close()

    def _descend(self) -> Iterator[Report]:
        learners, schedule = self._learners, self._plan.schedule
        optimiser, groups = self._optimiser()
        first = best = self._error(self._judge)
        trained = self._error(self._train[:JUDGED])
        start = kept = learners.state()
        waited, every, error = 0, max(APART, self._steps // CHECKS), first
        step, seen = 0, Readings()
        for step in range(1, self._steps + 1):
            checked = step % every == 0 or step in (1, self._steps)
            with arriving(self._model, self._active if checked else ()) as arrived:
                values = self._step(step, optimiser, groups, checked)
            if not checked:
                continue
            seen = arrived
            if not self._watch.loss(values["loss"]):
                error = math.inf
                break
            error = self._error(self._judge)
            report = self._report(step, values, seen, error)
            yield report
            if error < best:
                best, kept, waited = error, learners.state(), 0
            elif schedule.patience and (waited := waited + 1) >= schedule.patience:
                break
        last = self._finish(
            start, kept if schedule.keep_best else None, (first, best, error), trained
        )
        self.outcome = self._report(step, {}, seen, last)
        self.concerns = self._watch.concerns(best_kept=schedule.keep_best)

    def _report(
        self, step: int, values: Mapping[str, float], seen: Readings, error: float
    ) -> Report:
        """All signals as they are now; the error is that of exported codes."""
        sites = self._learners.signals(self._norms, seen)
        means, counts = gathered(sites, self._learners.sizes)
        name = "held_out" if self._held else "hard"
        if self._held and values:
            self._watch.judged(step, values["reconstruction"], error)
        return Report(step, {**values, **means, name: error}, counts, sites)

    def _finish(
        self,
        start: list[Tensor],
        kept: list[Tensor] | None,
        errors: tuple[float, float, float],
        trained: float,
    ) -> float:
        """Choose the state to end with, and note what went wrong; its error."""
        first, best, last = errors
        learners = self._learners
        if kept is not None:
            learners.restore(kept)
            last = best
        if math.isfinite(last) and last <= WORSE * first:
            return last
        if math.isfinite(last):
            better = self._error(self._train[:JUDGED]) < trained
            self._watch.failed(better_on_own=better and bool(self._held))
        learners.restore(start)
        return first

    def _step(
        self,
        step: int,
        optimiser: torch.optim.Optimizer,
        groups: Sequence[tuple[Learnable, float]],
        report: bool,
    ) -> dict[str, float]:
        """One step of descent; the loss and its parts where they are wanted."""
        batch = self._train[int(torch.randint(len(self._train), (1,), generator=self._chance))]
        with torch.enable_grad():
            values = self._program.run(self._inputs(batch), self._place, self._stop.outputs)
            parts = self._parts(batch, values, step)
            loss = torch.stack(list(parts.values())).sum()
            optimiser.zero_grad()
            if loss.requires_grad:
                loss.backward()
        values = {} if not report else self._values(loss, parts)
        for group, (learnable, rate) in zip(optimiser.param_groups, groups, strict=True):
            group["lr"] = rate * _decayed(learnable.decay, (step - 1) / self._steps)
        if self._plan.schedule.optimiser == "sign":
            _to_signs(self._learners.parameters())
        optimiser.step()
        return values

    def _values(self, loss: Tensor, parts: dict[str, Tensor]) -> dict[str, float]:
        found = {name: float(part.detach()) for name, part in parts.items()}
        judged = sum(value for name, value in found.items() if name not in REGULARISERS)
        self._norms = gradients(self._learners.located())
        self._watch.gradients(self._norms)
        norm = math.hypot(*self._norms.values())
        return {"loss": float(loss.detach()), **found, "reconstruction": judged, "gradient": norm}

    def _parts(
        self, batch: int, values: Sequence[Tensor], step: int, *, judged: bool = False
    ) -> dict[str, Tensor]:
        """Each signal times its weight, for what the unit gave; without regularisers if judged."""
        reference, weights, prediction = (self._shelf.get(h) for h in self._known[batch])
        outputs = tuple(
            Output(r, v, axis, w)
            for r, v, axis, w in zip(reference, values, self._axes, weights, strict=True)
        )
        pair = None
        if prediction is not None:
            pair = prediction, self._stop.predict(batch, values)
        seen = Seen(outputs, step, self._steps, pair, self._learners.roundings())
        now = self._steps if judged else step  # phases are judged by the last of them
        counting = ((use, use.weight_at(now, self._steps)) for use in self._plan.signals)
        return {
            use.name: weight * SIGNALS[use.name].make(seen, use.parsed())
            for use, weight in counting
            if weight and not (judged and use.name in REGULARISERS)
        }

    def _inputs(self, batch: int) -> dict[fx.Node, object]:
        floats, quantized = self._stop.inputs(batch)
        if self._plan.inputs == "float":
            return floats
        if self._plan.inputs == "quantized":
            return quantized
        return {node: self._mixed(value, floats[node]) for node, value in quantized.items()}

    def _mixed(self, quantized: object, original: object) -> object:
        """Each element quantized with the chance that the plan gives, otherwise float."""
        if quantized is original or not isinstance(quantized, Tensor) or self._plan.keep == 1:
            return quantized
        if not isinstance(original, Tensor) or not quantized.is_floating_point():
            return quantized
        chosen = _mask(quantized.shape, self._plan.keep, self._chance)
        return torch.lerp(original, quantized, chosen.to(quantized))

    def _place(self, node: fx.Node, x: Tensor) -> Tensor:
        value = self._learners.soft(node, x)
        site = self._model.sites[node.meta["site"]]
        if self._plan.inputs == "mixed" and site.kind == "activation":
            return self._mixed(value, x)  # type: ignore[return-value]
        return value

    def _remember(self) -> None:
        """What every step needs of each batch and does not change."""
        for batch in range(self._stop.count):
            reference = self._stop.reference(batch)
            weights: Sequence[Tensor | None] = [None] * len(reference)
            prediction = None
            if self._plan.needs("importance"):
                weights = self._importance(batch, reference)
            if self._plan.needs("prediction"):
                with torch.no_grad():
                    prediction = self._stop.predict(batch, reference)
            kept = (reference, tuple(weights), prediction)
            self._known.append(tuple(self._shelf.put(value) for value in kept))
            self._axes = tuple(
                channel_axis(node, value.ndim)
                for node, value in zip(self._stop.outputs, reference, strict=True)
            )

    def _importance(self, batch: int, reference: Sequence[Tensor]) -> list[Tensor]:
        with torch.enable_grad():
            leaves = [value.detach().requires_grad_() for value in reference]
            return importance(self._stop.predict(batch, leaves), leaves, self._chance)

    @torch.no_grad()
    def _error(self, batches: Sequence[int]) -> float:
        """Mean loss with the codes as they would be exported, without regularisers."""
        total = 0.0
        for batch in batches:
            inputs = self._stop.inputs(batch)[self._plan.inputs != "float"]
            values = self._program.run(inputs, self._learners.hard, self._stop.outputs)
            parts = self._parts(batch, values, self._steps, judged=True)
            total += sum(float(part) for part in parts.values())
        return total / len(batches)

    def _optimiser(self) -> tuple[torch.optim.Optimizer, list[tuple[Learnable, float]]]:
        groups = self._learners.groups()
        parameters = [{"params": found, "lr": rate} for _, rate, found in groups]
        plain = self._plan.schedule.optimiser == "sign"
        optimiser = torch.optim.SGD(parameters) if plain else torch.optim.Adam(parameters)
        return optimiser, [(learnable, rate) for learnable, rate, _ in groups]


def _mask(shape: torch.Size, share: float, chance: torch.Generator) -> Tensor:
    """True for about `share` < 1 of the elements, in steps of 1/256: a number gives eight draws."""
    count = shape.numel()
    numbers = torch.empty(-(-count // 8), dtype=torch.int64).random_(
        -(2**63), None, generator=chance
    )
    return (numbers.view(torch.uint8)[:count] < min(255, round(256 * share))).reshape(shape)


def _decayed(decay: str, done: float) -> float:
    if decay == "linear":
        return 1 - done
    return 0.5 * (1 + math.cos(math.pi * done)) if decay == "cosine" else 1.0


def _to_signs(parameters: Sequence[Tensor]) -> None:
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.sign_()
