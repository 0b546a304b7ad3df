"""Search on the true score: the network is run at each choice of bits that is tried.

    cross-entropy   bits of each weight are drawn from a distribution of its own, which moves
                    towards the best tenth of each round (Rubinstein 1999)
    evolution       the best so far are crossed and changed in a few places (as BRECQ,
                    arXiv:2102.05426, section 3.4, does)

Both begin at a choice that is given, the optimum of the integer programme, and try it first, so
what they find is never worse by that score. What exceeds a budget is mended before it is tried: the
step down that harms least for what it saves, then every step up that there is room for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from workbench.analysis.bits.problem import Bits, Problem
from workbench.foundation.options import Options

#: bits by variable -> harm as measured, lower is better
Score = Callable[[Bits], float]


class SearchOptions(Options):
    """How long to search and how boldly."""

    rounds: Annotated[int, Field(ge=1, le=1000, description="rounds of the search")] = 6
    population: Annotated[int, Field(ge=4, le=1000, description="choices tried in a round")] = 16
    elite: Annotated[float, Field(gt=0, lt=1, description="share that shapes the next round")] = (
        0.25
    )
    smoothing: Annotated[
        float, Field(ge=0, lt=1, description="share of the old distribution that stays")
    ] = 0.5
    change: Annotated[
        float, Field(gt=0, le=1, description="chance that a variable is drawn anew")
    ] = 0.15
    seed: Annotated[int, Field(ge=0, lt=2**32, description="seed of all chance")] = 0


@dataclass(frozen=True)
class Tried:
    """A choice that was run.

    Attributes:
        bits: by variable.
        score: as measured.
        step: how many were tried, this one included; total: how many will be.
    """

    bits: dict[str, int]
    score: float
    step: int
    total: int


class Search(ABC):
    """Tries choices one after another, each once; the first one is `start`. Iterate over it.

    Args:
        problem: its budgets hold for what is tried.
        budgets: by resource.
        score: of a choice, lower is better.
        start: a choice within the budgets.
        options: how long and how boldly.
    """

    def __init__(
        self,
        problem: Problem,
        budgets: Mapping[str, float],
        score: Score,
        start: Bits,
        options: SearchOptions | None = None,
    ) -> None:
        self._problem, self._budgets, self._score = problem, budgets, score
        self._options = options or SearchOptions()
        self._chance = np.random.default_rng(self._options.seed)
        self._start = dict(start)
        self._names = [v.name for v in problem.variables]
        self._known: dict[tuple[int, ...], float] = {}
        self._total = 1 + self._options.rounds * self._options.population
        self._step = 0

    def __iter__(self) -> Iterator[Tried]:
        yield self._run(self._start)
        for bits in self._drawn():
            found = mended(self._problem, self._budgets, bits, self._chance)
            if found is None:  # and passed over
                self._step += 1
                continue
            yield self._run(found)

    @abstractmethod
    def _drawn(self) -> Iterator[dict[str, int]]:
        """Choices to try, which may exceed the budgets; those before have been run."""

    def _elite(self) -> list[dict[str, int]]:
        """The best so far, those that shape the next round."""
        count = max(2, round(self._options.elite * self._options.population))
        ranked = sorted(self._known, key=self._known.__getitem__)[:count]
        return [dict(zip(self._names, key, strict=True)) for key in ranked]

    def _run(self, bits: dict[str, int]) -> Tried:
        key = tuple(bits[name] for name in self._names)
        if key not in self._known:
            self._known[key] = self._score(bits)
        self._step += 1
        return Tried(bits, self._known[key], self._step, self._total)


class CrossEntropy(Search):
    """Choices drawn from distributions that learn."""

    def _drawn(self) -> Iterator[dict[str, int]]:
        options, chance, variables = self._options, self._chance, self._problem.variables
        weights = {v.name: _near(v.bits, self._start[v.name], options.change) for v in variables}
        for _ in range(options.rounds):
            for _ in range(options.population):
                yield {v.name: int(chance.choice(v.bits, p=weights[v.name])) for v in variables}
            elite = self._elite()
            for v in variables:
                seen = np.array([np.mean([e[v.name] == b for e in elite]) for b in v.bits])
                kept = options.smoothing * weights[v.name]
                weights[v.name] = kept + (1 - options.smoothing) * seen


class Evolution(Search):
    """Children of the best so far."""

    def _drawn(self) -> Iterator[dict[str, int]]:
        options, chance = self._options, self._chance
        for _ in range(options.rounds):
            parents = self._elite()
            for _ in range(options.population):
                one, other = (parents[i] for i in chance.integers(len(parents), size=2))
                child = {}
                for v in self._problem.variables:
                    child[v.name] = (one if chance.random() < 0.5 else other)[v.name]
                    if chance.random() < options.change:
                        child[v.name] = int(chance.choice(v.bits))
                yield child


def mended(
    problem: Problem,
    budgets: Mapping[str, float],
    bits: Bits,
    chance: np.random.Generator | None = None,
) -> dict[str, int] | None:
    """A choice near this one, step by step, that keeps the budgets and uses them; None if none is.

    Args:
        problem: its objective says which steps harm least.
        budgets: by resource.
        bits: to begin with.
        chance: blurs what the objective says, for a search that is to find where it is wrong.
    """
    found = dict(bits)
    blur = {v.name: 1.0 for v in problem.variables}
    if chance is not None:
        blur = {name: float(np.exp(chance.standard_normal())) for name in blur}
    while over := problem.exceeded(found, budgets):
        step = _step_down(problem, over, budgets, found, blur)
        if step is None:
            return None
        found[step[0]] = step[1]
    while (step := _step_up(problem, budgets, found, blur)) is not None:
        found[step[0]] = step[1]
    return found


def _near(choices: tuple[int, ...], chosen: int, change: float) -> np.ndarray:
    """Most of the chance for one choice, and the rest for those beside it."""
    distance = np.abs(np.arange(len(choices)) - choices.index(chosen))
    weights = np.where(distance == 0, 1.0, np.where(distance == 1, 2 * change, change / 2))
    return weights / weights.sum()


def _step_down(
    problem: Problem,
    over: list[str],
    budgets: Mapping[str, float],
    bits: Bits,
    blur: Mapping[str, float],
) -> tuple[str, int] | None:
    """The change of one variable that saves most of what is exceeded for its harm."""
    best: tuple[float, str, int] | None = None
    for v in problem.variables:
        now = v.at(bits[v.name])
        for k, width in enumerate(v.bits):
            more = {r: problem.dearer(r, bits, v.name, width) for r in over}
            saved = sum(max(0.0, -cost) / (abs(budgets[r]) or 1.0) for r, cost in more.items())
            if k != now and saved > 0 and not any(cost > 0 for cost in more.values()):
                price = blur[v.name] * max(v.harm[k] - v.harm[now], 0.0) / saved
                if best is None or price < best[0]:
                    best = price, v.name, width
    return None if best is None else best[1:]


def _step_up(
    problem: Problem, budgets: Mapping[str, float], bits: Bits, blur: Mapping[str, float]
) -> tuple[str, int] | None:
    """The change of one variable within the budgets that helps most."""
    best: tuple[float, str, int] | None = None
    room = {r: limit - problem.cost(r, bits) for r, limit in budgets.items()}
    for v in problem.variables:
        now = v.at(bits[v.name])
        for k, width in enumerate(v.bits):
            gain = blur[v.name] * (v.harm[now] - v.harm[k])
            if gain <= 0:
                continue
            fits = all(problem.dearer(r, bits, v.name, width) <= x for r, x in room.items())
            if fits and (best is None or gain > best[0]):
                best = gain, v.name, width
    return None if best is None else best[1:]
