"""What every demo of the registry has to keep."""

from __future__ import annotations

import json
import math
import statistics
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.foundation.errors import RecipeError
from workbench.lessons.base import Demo, as_number
from workbench.lessons.controls import controls
from workbench.lessons.panels import Cells
from workbench.lessons.registry import DEMOS, TOPICS, make
from workbench.lessons.sitting import Sitting
from workbench.views.lesson import view

NAMES = DEMOS.names()
FAST = 0.06  # seconds a scene takes with defaults, on a machine that is not busy
GENEROUS = 5
MOST_BYTES = 400_000
SET_UP_TO = 12  # numbers of a random set lie below this

every = pytest.mark.parametrize("name", NAMES)


def values_of(control: dict[str, Any]) -> st.SearchStrategy[Any]:
    low, high = control["minimum"], control["maximum"]
    if control["kind"] == "choice":
        return st.sampled_from(control["choices"])
    if control["kind"] == "flag":
        return st.booleans()
    if control["kind"] == "integer":
        return st.integers(int(low), int(high))
    if control["kind"] == "set":
        return st.frozensets(st.integers(0, SET_UP_TO - 1)).map(lambda s: tuple(sorted(s)))
    assert control["kind"] == "number", f"no random values for {control}"
    if control["log"]:
        return st.floats(math.log(low), math.log(high)).map(
            lambda v: min(high, max(low, math.exp(v)))
        )
    return st.floats(low, high)


def options_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Random options within their bounds, some left at their defaults."""
    every_value = {c["name"]: values_of(c) for c in controls(DEMOS[name].options)}
    return st.fixed_dictionaries({}, optional=every_value)


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from numbers_in(each)
    elif isinstance(value, float):
        yield value


def demand(demo: Demo) -> None:
    """Everything that has to hold whatever the options."""
    question, answer, scene = demo.question(), demo.answer(), demo.scene()
    assert question.accepts(answer, answer)
    if question.choices:
        assert len(set(question.choices)) == len(question.choices) >= 2
        assert answer in question.choices
        assert not any(question.accepts(c, answer) for c in question.choices if c != answer)
    else:
        assert isinstance(answer, int | float)
        assert math.isfinite(answer)
        far = answer + 2 * max(question.slack, question.tolerance * abs(answer)) + 1e-9
        assert not question.accepts(far, answer)
    for nothing in (None, "", "no idea", math.nan, [], True):
        assert not question.accepts(nothing, answer)
    assert scene.panels
    assert scene.readings
    records = [each.record() for each in (*scene.panels, *scene.readings)]
    assert all(math.isfinite(number) for number in numbers_in(records))
    known = {control["name"] for control in controls(type(demo.options))}
    for panel in scene.panels:
        asked = [getattr(panel, "sets", ""), *(m.sets for m in getattr(panel, "marks", ()))]
        assert {each for each in asked if each} <= known
        if isinstance(panel, Cells):
            assert len({len(row) for row in panel.values}) == 1
    assert len(demo.explanation()) > 40


def result_of(demo: Demo) -> Any:
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(demo.code(), "<code>", "exec"), found)
    return found["result"]


def same(result: Any, shown: Any) -> bool:
    if isinstance(shown, str):
        return result == shown
    return math.isclose(float(result), float(shown), rel_tol=1e-4, abs_tol=1e-7)


@every
def test_says_what_it_is(name: str):
    entry = DEMOS[name]
    assert len(entry.description) > 20
    assert entry.citation
    assert entry.facts["topic"] in TOPICS
    described = [control["help"] for control in controls(entry.options)]
    assert all(described), "each option needs a description"


@every
def test_holds_with_defaults(name: str):
    demand(make(name))


@every
def test_holds_with_random_options(name: str):
    @settings(max_examples=12, deadline=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(options=options_of(name))
    def check(options: dict[str, Any]) -> None:
        demand(make(name, options))

    check()


@every
def test_shows_numbers_in_what_it_explains(name: str):
    assert any(char.isdigit() for char in make(name).explanation())


@every
def test_is_the_same_again(name: str):
    first, again = (view(Sitting(name, revealed=True)) for _ in range(2))
    assert first == again


@every
def test_is_fast(name: str):
    view(Sitting(name, revealed=True))
    taken = []
    for _ in range(5):
        start = time.process_time()
        view(Sitting(name, revealed=True))
        taken.append(time.process_time() - start)
    assert statistics.median(taken) < FAST * GENEROUS


@every
def test_is_small_json(name: str):
    found = json.dumps(view(Sitting(name, revealed=True)), allow_nan=False)
    assert len(found) < MOST_BYTES


@every
def test_code_gives_the_number_on_screen(name: str):
    demo = make(name)
    assert same(result_of(demo), demo.scene().readings[0].value)


@every
def test_code_follows_the_options(name: str):
    @settings(max_examples=3, deadline=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(options=options_of(name))
    def check(options: dict[str, Any]) -> None:
        demo = make(name, options)
        assert same(result_of(demo), demo.scene().readings[0].value), options

    check()


@every
def test_does_not_tell_before_the_guess(name: str):
    before, after = view(Sitting(name)), view(Sitting(name, revealed=True))
    assert "answer" not in before["question"]
    assert not before["explanation"]
    assert not before["code"]
    hidden = sum(panel["kind"] == "veiled" for panel in before["panels"])
    assert hidden + len(after["readings"]) - len(before["readings"]) > 0


@every
def test_refuses_options_that_cannot_be(name: str):
    with pytest.raises(RecipeError, match="has no option"):
        make(name, {"unheard_of": 1})


def test_numbers_are_read_as_people_write_them():
    assert as_number(" −3,5 ") == -3.5
    assert as_number("1e-3") == 1e-3
    for nothing in (None, True, "three", math.inf, [1, 2], {}):
        assert as_number(nothing) is None
