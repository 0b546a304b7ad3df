"""The integer programme: HAWQ-V3's optimum, every choice tried by hand, budgets, ties, pins."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.analysis.bits import golden
from workbench.analysis.bits.pareto import knee, sweep
from workbench.analysis.bits.problem import Pair, Problem, problem
from workbench.analysis.bits.programme import solve
from workbench.foundation.errors import RecipeError

WIDTHS = (2, 3, 4, 8)


def test_hawq_v3_resnet18_at_half_the_size():
    task = golden.resnet18()
    low, high = task.range("size")
    limit = low + 0.5 * (high - low)
    assert limit == pytest.approx(7.980469, abs=1e-6)
    found = solve(task, {"size": limit})
    by_layer = task.expanded(found)
    bits = [by_layer[str(i)] for i in range(19)]
    assert bits == [8] * 15 + [4, 8, 4, 4]
    assert task.harm(found) == pytest.approx(0.07450593, abs=1e-8)
    assert task.harm(found) - task.harm(task.uniform(4)) == pytest.approx(-1.23320720, abs=1e-8)
    assert task.cost("size", found) == pytest.approx(7.265625)
    assert task.harm(task.uniform(4)) == pytest.approx(1.30771313, abs=1e-8)
    assert task.harm(task.uniform(8)) == pytest.approx(0.00425787, abs=1e-8)


@st.composite
def problems(draw, most: int = 5, pairs: bool = False) -> Problem:
    count = draw(st.integers(2, most))
    names = [f"w{i}" for i in range(count)]
    positive = st.floats(1e-6, 10.0)
    harm = {
        n: dict(
            zip(WIDTHS, sorted(draw(st.lists(positive, min_size=4, max_size=4)))[::-1], strict=True)
        )
        for n in names
    }
    values = {n: draw(st.integers(1, 5000)) for n in names}
    size = {n: {b: float(values[n] * b) for b in WIDTHS} for n in names}
    time = {n: {b: draw(st.floats(0.1, 2.0)) for b in WIDTHS} for n in names}
    found = problem(harm, {"size": size, "time": time}, {"size": 100.0, "time": 0.5})
    if not pairs:
        return found
    joint = st.floats(-1.0, 1.0)
    rows = tuple(tuple(draw(joint) for _ in WIDTHS) for _ in WIDTHS)
    return Problem(found.variables, found.fixed, (Pair("w0", "w1", rows),))


def brute(task: Problem, budgets: dict[str, float]) -> float:
    """The least harm over every choice that keeps the budgets."""
    names = [v.name for v in task.variables]
    every = itertools.product(*(v.bits for v in task.variables))
    allowed = (dict(zip(names, bits, strict=True)) for bits in every)
    return min((task.harm(b) for b in allowed if task.holds(b, budgets)), default=math.inf)


@settings(max_examples=30)
@given(problems(), st.floats(0, 1), st.floats(0, 1))
def test_the_optimum_is_that_of_trying_everything(task: Problem, size: float, time: float):
    budgets = {n: low + s * (high - low) for n, s in (("size", size), ("time", time))
               for low, high in [task.range(n)]}  # fmt: skip
    best = brute(task, budgets)
    if math.isinf(best):
        with pytest.raises(RecipeError, match="together"):
            solve(task, budgets)
        return
    found = solve(task, budgets)
    assert task.holds(found, budgets)
    assert task.harm(found) == pytest.approx(best, rel=1e-6, abs=1e-9)


@settings(max_examples=20)
@given(problems(most=4, pairs=True), st.floats(0, 1))
def test_terms_of_pairs_are_counted(task: Problem, share: float):
    low, high = task.range("size")
    budgets = {"size": low + share * (high - low)}
    found = solve(task, budgets)
    assert task.holds(found, budgets)
    assert task.harm(found) == pytest.approx(brute(task, budgets), rel=1e-6, abs=1e-8)


@settings(max_examples=20)
@given(problems(most=12), st.sampled_from(WIDTHS))
def test_never_worse_than_one_width_for_all(task: Problem, width: int):
    uniform = task.uniform(width)
    budgets = {"size": task.cost("size", uniform)}
    found = solve(task, budgets)
    assert task.holds(found, budgets)
    assert task.harm(found) <= task.harm(uniform) * (1 + 1e-9)


@settings(max_examples=20)
@given(problems(), st.floats(0.2, 1), st.sampled_from(WIDTHS))
def test_ties_and_pins_are_kept(task: Problem, share: float, width: int):
    held = task.tied([("w0", "w1")]).pinned({"w1": width})
    low, high = held.range("size")
    found = held.expanded(solve(held, {"size": low + share * (high - low)}))
    assert found["w0"] == found["w1"] == width
    assert set(found) == {v.name for v in task.variables}


def test_a_tie_takes_the_terms_of_its_pairs_along():
    harm = {n: {2: 1.0, 4: 0.5} for n in "abc"}
    costs = {"size": {n: {2: 2.0, 4: 4.0} for n in "abc"}}
    plain = problem(harm, costs)
    pairs = (
        Pair("a", "b", ((5.0, 0.0), (0.0, 0.25))),
        Pair("b", "c", ((0.0, 1.0), (2.0, 0.0))),
    )
    tied = Problem(plain.variables, {}, pairs).tied([("a", "b")])
    assert tied.harm({"a": 2, "c": 4}) == pytest.approx(1.0 + 1.0 + 5.0 + 0.5 + 1.0)
    assert tied.harm({"a": 4, "c": 2}) == pytest.approx(0.5 + 0.5 + 0.25 + 1.0 + 2.0)


def test_groups_that_share_a_name_are_one():
    harm = {n: {2: 1.0, 4: 0.5} for n in "abcd"}
    tied = problem(harm, {}).tied([("a", "b"), ("c", "d"), ("b", "c")])
    assert len(tied.variables) == 1
    assert set(tied.variables[0].members) == set("abcd")


@pytest.mark.parametrize(
    ("budgets", "words"),
    [({"size": 1.0}, "least that a choice can cost"), ({"speed": 1.0}, "known are: size")],
)
def test_what_cannot_be_kept_is_refused_with_a_cure(budgets: dict[str, float], words: str):
    task = problem({"a": {2: 1.0, 4: 0.1}}, {"size": {"a": {2: 2.0, 4: 4.0}}})
    with pytest.raises(RecipeError, match=words):
        solve(task, budgets)


def test_pins_that_cannot_be_are_refused():
    task = problem({n: {2: 1.0, 4: 0.1} for n in "ab"}, {})
    with pytest.raises(RecipeError, match="its choices are 2, 4"):
        task.pinned({"a": 3})
    with pytest.raises(RecipeError, match="no weight"):
        task.pinned({"c": 2})
    with pytest.raises(RecipeError, match="tied"):
        task.tied([("a", "b")]).pinned({"a": 2, "b": 4})


def test_standard_output_stays_clean(capfd: pytest.CaptureFixture[str]):
    solve(golden.resnet18(), {"size": 7.0})
    assert capfd.readouterr().out == ""


# --- sweeps ---------------------------------------------------------------------------------------


def test_a_sweep_rises_in_cost_and_falls_in_harm():
    points = list(sweep(golden.resnet18(), "size", 9))
    costs, harms = [p.costs["size"] for p in points], [p.harm for p in points]
    assert costs == sorted(costs)
    assert harms == sorted(harms, reverse=True)
    assert len(set(costs)) == len(costs)
    assert set(points[0].bits.values()) == {4}
    assert set(points[-1].bits.values()) == {8}


def test_other_budgets_hold_throughout():
    harm = {n: {2: 1.0, 4: 0.5, 8: 0.1} for n in "abc"}
    size = {n: {b: float(b) for b in (2, 4, 8)} for n in "abc"}
    time = {n: {2: 3.0, 4: 2.0, 8: 1.0} for n in "abc"}
    points = list(sweep(problem(harm, {"size": size, "time": time}), "size", 5, {"time": 5.0}))
    assert points
    assert all(p.costs["time"] <= 5.0 for p in points)


def test_the_knee_is_where_the_curve_bends():
    assert knee([1, 2, 3, 4, 5], [1.0, 1e-2, 1e-3, 5e-4, 2e-4]) == 2
    assert knee([1, 2], [1.0, 0.1]) is None
    assert knee([1, 2, 3], [1.0, 0.1, 0.01]) is None  # straight in the logarithm
