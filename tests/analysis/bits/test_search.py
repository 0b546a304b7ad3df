"""Searches on a score: budgets hold, the start is never lost, and a known optimum is found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.analysis.bits.test_programme import problems
from workbench.analysis.bits import haq
from workbench.analysis.bits.problem import Problem, problem
from workbench.analysis.bits.programme import solve
from workbench.analysis.bits.refine import CrossEntropy, Evolution, SearchOptions, mended

FEW = SearchOptions(rounds=2, population=5)


@pytest.mark.parametrize("search", [CrossEntropy, Evolution])
@given(problems(), st.floats(0, 1))
@settings(max_examples=10)
def test_budgets_hold_and_the_start_is_tried_first(search, task: Problem, share: float):
    low, high = task.range("size")
    budgets = {"size": low + share * (high - low)}
    start = solve(task, budgets)
    tried = list(search(task, budgets, task.harm, start, FEW))
    assert tried[0].bits == start
    assert all(task.holds(each.bits, budgets) for each in tried)
    assert tried[-1].step <= tried[-1].total


@pytest.mark.parametrize("search", [CrossEntropy, Evolution])
def test_a_wrong_estimate_is_put_right_by_the_score(search):
    """The estimate says that all weights matter alike; in truth the first matters most."""
    names = [f"w{i}" for i in range(6)]
    size = {n: {b: float(b) for b in (2, 4, 8)} for n in names}
    task = problem({n: {2: 1.0, 4: 0.5, 8: 0.4} for n in names}, {"size": size})
    truth = {n: {2: 1.0, 4: 0.9, 8: 0.8} for n in names}
    truth["w0"] = {2: 50.0, 4: 10.0, 8: 0.1}
    budgets = {"size": 26.0}

    def score(bits) -> float:
        return sum(truth[n][bits[n]] for n in names)

    tried = list(search(task, budgets, score, solve(task, budgets), SearchOptions(rounds=8)))
    best = min(tried, key=lambda each: each.score)
    assert best.bits["w0"] == 8
    assert best.score < tried[0].score


def test_the_same_seed_tries_the_same():
    task = problem(
        {n: {2: 1.0, 4: 0.5} for n in "abcd"}, {"s": {n: {2: 2.0, 4: 4.0} for n in "abcd"}}
    )
    runs = [
        [t.bits for t in CrossEntropy(task, {"s": 12.0}, task.harm, task.uniform(2), FEW)]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


@given(problems(), st.floats(0, 1), st.sampled_from((2, 3, 4, 8)))
@settings(max_examples=20)
def test_mending_keeps_the_budget_and_leaves_no_room(task: Problem, share: float, width: int):
    low, high = task.range("size")
    budgets = {"size": low + share * (high - low)}
    found = mended(task, budgets, task.uniform(width))
    assert found is not None
    assert task.holds(found, budgets)
    for v in task.variables:
        for bits in v.bits:
            other = {**found, v.name: bits}
            better = task.harm(other) < task.harm(found) - 1e-12
            assert not (better and task.cost("size", other) < budgets["size"])


# --- HAQ ------------------------------------------------------------------------------------------


def test_actions_cover_all_bits_evenly():
    found = [haq.bits_of(i / 1000, 2, 8) for i in range(1001)]
    assert set(found) == set(range(2, 9))
    assert abs(found.count(2) - found.count(5)) <= 2
    assert found == sorted(found)


def test_the_reward_is_a_tenth_of_the_points_lost():
    assert haq.reward(97.0, 98.5) == pytest.approx(-0.15)


def test_bits_are_lowered_in_turn_until_the_budget_holds():
    task = problem(
        {n: {2: 1, 4: 1, 8: 1} for n in "abc"}, {"s": {n: {2: 2, 4: 4, 8: 8} for n in "abc"}}
    )
    assert haq.lowered(task, {"s": 17.0}, task.uniform(8)) == {"a": 4, "b": 4, "c": 8}
    assert haq.lowered(task, {"s": 5.0}, task.uniform(8)) is None


def test_a_policy_learns_which_layers_matter():
    names = [f"w{i}" for i in range(6)]
    task = problem(
        {n: {2: 1.0, 4: 1.0, 8: 1.0} for n in names},
        {"s": {n: {b: float(b) for b in (2, 4, 8)} for n in names}},
    )
    states = {n: haq.LayerState(i % 2 == 0, 4, 4, 1, 3, 100, 9) for i, n in enumerate(names)}

    def percent(bits) -> float:  # the depthwise ones need bits
        return 90.0 + sum(bits[n] for n in names if states[n].depthwise) / 3

    options = SearchOptions(rounds=6, population=12)
    tried = list(haq.search(task, {"s": 30.0}, percent, 98.0, states, options))
    first = max(-t.score for t in tried[:3])
    best = min(tried, key=lambda t: t.score)
    assert -best.score > first
    assert all(task.holds(t.bits, {"s": 30.0}) for t in tried)
    assert best.score == pytest.approx(-haq.reward(percent(best.bits), 98.0))
