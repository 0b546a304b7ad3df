"""Costs that are products of two choices, as bit operations are, against all choices in turn."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from workbench.analysis.bits.pareto import sweep
from workbench.analysis.bits.problem import Pair, Problem, problem
from workbench.analysis.bits.programme import solve
from workbench.analysis.bits.refine import Evolution, SearchOptions, mended
from workbench.foundation.errors import RecipeError

WEIGHTS, ACTIVATIONS = (2, 4, 8), (4, 8)
MACS = {("w0", "x"): 10.0, ("w1", "x"): 3.0, ("w2", "y"): 7.0}


def joint(seed: int = 0) -> Problem:
    """Three weights that read two activations; bits harm at random, fewer of them more."""
    chance = np.random.default_rng(seed)
    harm = {
        name: dict(zip(bits, sorted(chance.exponential(size=len(bits)), reverse=True), strict=True))
        for name, bits in (
            *((w, WEIGHTS) for w in ("w0", "w1", "w2")),
            *((a, ACTIVATIONS) for a in ("x", "y")),
        )
    }
    size = {n: {b: float(b if n[0] == "w" else 0) for b in row} for n, row in harm.items()}
    free = {name: dict.fromkeys(row, 0.0) for name, row in harm.items()}
    pairs = [
        Pair(w, a, ((0.0, 0.0),) * 3, {"bops": tuple(tuple(m * b * c for c in ACTIVATIONS)
                                                     for b in WEIGHTS)})
        for (w, a), m in MACS.items()
    ]  # fmt: skip
    return problem(harm, {"size": size, "bops": free}, {"bops": 5.0}, ("x", "y"), pairs)


def every(task: Problem) -> list[dict[str, int]]:
    names = [v.name for v in task.variables]
    return [
        dict(zip(names, found, strict=True)) for found in product(*(v.bits for v in task.variables))
    ]


def bops(bits: dict[str, int]) -> float:
    return 5.0 + sum(m * bits[w] * bits[a] for (w, a), m in MACS.items())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.8, 1.0])
def test_the_programme_finds_the_best_of_all(seed: int, share: float) -> None:
    task = joint(seed)
    low, high = task.range("bops")
    assert (low, high) == (min(map(bops, every(task))), max(map(bops, every(task))))
    budgets = {"bops": low + share * (high - low), "size": 20.0}
    fitting = [b for b in every(task) if task.holds(b, budgets)]
    assert {bops(b) <= budgets["bops"] * (1 + 1e-9) for b in fitting} == {True}
    found = solve(task, budgets)
    assert task.harm(found) == pytest.approx(min(map(task.harm, fitting)))
    near = mended(task, budgets, task.uniform(8))
    assert near is not None
    assert task.holds(near, budgets)


def test_the_least_alone_and_too_little() -> None:
    task = joint()
    low, _ = task.range("bops")
    cheapest = dict.fromkeys(("w0", "w1", "w2"), 2) | dict.fromkeys(("x", "y"), 4)
    assert solve(task, {"bops": low}) == cheapest == task.cheapest("bops")
    with pytest.raises(RecipeError, match="the number of bit operations was"):
        solve(task, {"bops": 0.9 * low})


def test_a_step_costs_what_the_whole_does() -> None:
    task = joint()
    for bits in every(task):
        for v in task.variables:
            for wanted in v.bits:
                more = bops({**bits, v.name: wanted}) - bops(bits)
                assert task.dearer("bops", bits, v.name, wanted) == pytest.approx(more)


def test_ties_and_sweeps_keep_the_products() -> None:
    task = joint().tied([("w0", "w1"), ("x", "y")])
    bits = {"w0": 4, "w2": 2, "x": 8}
    assert task.cost("bops", bits) == bops(task.expanded(bits))
    assert [v.kind for v in task.variables] == ["weight", "weight", "activation"]
    assert task.uniform(4, 8) == {"w0": 4, "w2": 4, "x": 8}
    assert task.widths() == WEIGHTS
    assert task.widths("activation") == ACTIVATIONS
    points = list(sweep(task, "bops", 6))
    costs = [bops(task.expanded(point.bits)) for point in points]
    assert [point.costs["bops"] for point in points] == pytest.approx(costs)
    assert costs == sorted(costs)


def test_a_search_keeps_the_budget() -> None:
    task = joint(3)
    low, high = task.range("bops")
    budgets = {"bops": (low + high) / 2}
    search = Evolution(task, budgets, task.harm, solve(task, budgets), SearchOptions(rounds=2))
    assert all(bops(each.bits) <= budgets["bops"] * (1 + 1e-9) for each in search)
