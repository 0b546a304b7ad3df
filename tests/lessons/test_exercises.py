"""Every exercise takes its right answer and refuses all others; the right ones are kept here."""

from __future__ import annotations

import math
from typing import Any

import pytest

from workbench.lessons.base import Question
from workbench.lessons.checking import EXERCISES, check
from workbench.lessons.registry import make

#: worked out by hand, independently of the checks
RIGHT: dict[str, Any] = {
    "1.1": 32,
    "1.3": 2.1333,
    "1.4": 43.04,
    "2.2": 0.53653,
    "2.3": "b",
    "3.1": 4.5,
    "3.2": [2, 0.5],
    "3.3": 0.7805,
    "4.1": [0, 0, 1],
    "4.2": 0.07,
    "4.3": 0.5,
    "5.1": "b",
    "5.2": 0.31,
    "5.3": [[1, 2], [2, 1]],
    "6.1": 0.6 * 1.0,
    "6.2": 0.6,
    "6.3": 1_048_576,
    "7.1": -0.35,
    "7.2": 1 / 192,
    "8.1": -0.92,
    "8.2": 0.25,
    "8.3": "a",
    "9.1": [1.585, 1],
    "9.2": 0.55,
    "9.3": 0.7,
    "10.1": 0.1438,
    "10.2": 0.7311,
    "10.3": "b",
    "11.1": 16,
    "11.2": [4, 4],
    "11.3": 1,
    "12.1": [4, 2],
    "12.2": 2.5,
    "12.3": 294.4,
    "13.1": 3,
    "13.2": "a",
    "13.3": "b",
    "14.1": 3100,
    "14.2": -498,
    "14.3": 38,
}
NONSENSE = (None, ..., "", "no idea", [], {}, math.nan, math.inf, object(), True, [None], [[]])

every = pytest.mark.parametrize("name", EXERCISES.names())


def right(name: str) -> Any:
    """The right answer; of a demo's question, the one that the demo computes from its data."""
    if name in RIGHT:
        return RIGHT[name]
    facts = EXERCISES[name].facts
    return make(facts["demo"], facts["given"]).answer()


def asked(name: str) -> Question | None:
    facts = EXERCISES[name].facts
    if "demo" in facts:
        return make(facts["demo"], facts["given"]).question()
    return facts.get("question")


def wrong(name: str) -> list[Any]:
    """Answers of the right kind that are not right."""
    answer, question = right(name), asked(name)
    if question is not None and question.choices:
        return [choice for choice in question.choices if choice != answer]
    if isinstance(answer, list):
        return [answer[:-1], [*answer, answer[-1]], *_spoiled(answer)]
    return [answer * 1.5 + 1, -answer - 1, answer / 2 - 1, str(answer) + "x"]


def _spoiled(answer: list[Any]) -> list[Any]:
    """Each place in turn with another value."""
    found = []
    for place, value in enumerate(answer):
        other = [v + 1 for v in value] if isinstance(value, list) else value + 1
        found.append([*answer[:place], other, *answer[place + 1 :]])
    return found


@every
def test_the_right_answer_is_right(name: str):
    verdict = check(name, right(name))
    assert verdict, verdict
    assert verdict.points == 1
    assert verdict._repr_mimebundle_()["text/plain"] == "1.0"


@every
def test_wrong_answers_are_refused(name: str):
    candidates = wrong(name)
    assert candidates
    for answer in candidates:
        verdict = check(name, answer)
        assert not verdict, answer
        assert verdict.points == 0


@every
def test_nonsense_and_nothing_are_refused(name: str):
    for answer in NONSENSE:
        assert not check(name, answer)


@every
def test_a_wrong_answer_gets_help_that_does_not_tell(name: str):
    text = check(name, wrong(name)[0]).text
    assert len(text.split()) >= 4, text
    answer = right(name)
    if isinstance(answer, float | int) and answer not in (0.5, 1, 3):
        assert f" {answer:g}" not in f" {text}"


def test_answers_are_kept_for_every_exercise():
    own = {name for name in EXERCISES.names() if "demo" not in EXERCISES[name].facts}
    assert own == set(RIGHT)


def test_text_and_tuples_are_answers_too():
    assert check("1.1", "32")
    assert check("3.2", (2, 0.5))
    assert check("12.1", ["4", "2"])
