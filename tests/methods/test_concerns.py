"""What went wrong is noticed, named and given a cure; what went well is left in peace."""

from __future__ import annotations

import math

import pytest

from workbench.methods.concerns import NAMED, Watch


def kinds(watch: Watch, **how: bool) -> list[str]:
    return [concern.kind for concern in watch.concerns(**how)]


def test_a_loss_that_is_no_number_ends_learning() -> None:
    watch = Watch("stem")
    assert watch.loss(1.0)
    assert not watch.loss(math.nan)
    (concern,) = watch.concerns()
    assert (concern.kind, concern.site) == ("diverged", "stem")
    assert "lower the learning rate" in concern.text


@pytest.mark.parametrize(("last", "found"), [(2.5, ["diverged"]), (1.5, []), (0.1, [])])
def test_a_steady_loss_that_grew_is_divergence(last: float, found: list[str]) -> None:
    watch = Watch("network", steady=True)
    watch.loss(1.0)
    watch.loss(last)
    assert kinds(watch) == found
    loose = Watch("network")  # losses of different batches cannot be compared
    loose.loss(1.0)
    loose.loss(last)
    assert kinds(loose) == []


def test_a_held_out_error_that_rises_while_the_other_falls_is_over_fitting() -> None:
    watch = Watch("block")
    for step, (trained, held) in enumerate([(1.0, 1.0), (0.7, 0.8), (0.4, 1.0)], 1):
        watch.judged(step, trained, held)
    (concern,) = watch.concerns()
    assert concern.kind == "over-fits"
    assert "after step 2" in concern.text
    assert "25 %" in concern.text
    assert kinds(watch, best_kept=True) == []


@pytest.mark.parametrize("held", [[1.0, 0.8, 0.85], [1.0, 0.9, 0.8]])
def test_a_small_rise_is_chance(held: list[float]) -> None:
    watch = Watch("block")
    for step, error in enumerate(held, 1):
        watch.judged(step, 1 / step, error)
    assert kinds(watch) == []


def test_both_errors_rising_is_no_over_fitting() -> None:
    watch = Watch("block")
    watch.judged(1, 1.0, 1.0)
    watch.judged(2, 2.0, 2.0)
    assert kinds(watch) == []


def test_sites_without_any_gradient_are_dead() -> None:
    watch = Watch("block")
    watch.gradients({"a": 0.0, "b": 0.0, "c": 1.0})
    watch.gradients({"a": 0.0, "b": 0.5, "c": 0.0})
    (concern,) = watch.concerns()
    assert (concern.kind, concern.site) == ("dead", "a")
    assert "minmax" in concern.text


def test_a_unit_that_is_dead_as_a_whole_is_named_once() -> None:
    watch = Watch("block")
    watch.gradients(dict.fromkeys("abc", 0.0))
    assert [concern.site for concern in watch.concerns()] == ["block"]


def test_many_dead_sites_are_counted() -> None:
    watch = Watch("network")
    watch.gradients({**{f"s{k}": 0.0 for k in range(NAMED + 3)}, "alive": 1.0})
    found = watch.concerns()
    assert len(found) == NAMED + 1
    assert "3 more sites of 'network'" in found[-1].text


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [(0.2, 0.1, []), (0.2, 0.2, []), (0.2, 0.3, ["no gain"]), (0.2, math.inf, ["diverged"])],
)
def test_layers_solved_in_one_go(before: float, after: float, found: list[str]) -> None:
    watch = Watch("stem")
    watch.solved(before, after)
    assert kinds(watch) == found


@pytest.mark.parametrize(("better", "kind"), [(True, "over-fits"), (False, "no gain")])
def test_an_end_worse_than_the_start(better: bool, kind: str) -> None:
    watch = Watch("stem")
    watch.failed(better_on_own=better)
    (concern,) = watch.concerns()
    assert concern.kind == kind
    assert "its start was kept" in concern.text
