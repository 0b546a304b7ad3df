"""Every exercise takes the answer in the teacher's table, and refuses all others."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path
from typing import Any

import pytest

from workbench.lessons.base import Question
from workbench.lessons.checking import EXERCISES, check
from workbench.lessons.grading import exercises
from workbench.lessons.registry import make
from workbench.lessons.submissions import literal

ANSWERS = Path(__file__).resolve().parents[2] / "notebooks" / "ANSWERS.md"
ROW = re.compile(r"^\| ([\d.]+) \| `(.+?)` \| .+ \|$", re.MULTILINE)
#: the teacher's table: worked out by hand, independently of the checks
RIGHT: dict[str, Any] = {
    name: literal(ast.parse(answer, mode="eval").body)
    for name, answer in ROW.findall(ANSWERS.read_text(encoding="utf-8"))
}
NONSENSE = (None, ..., "", "no idea", [], {}, math.nan, math.inf, object(), True, [None], [[]])

every = pytest.mark.parametrize("name", EXERCISES.names())


def asked(name: str) -> Question | None:
    facts = EXERCISES[name].facts
    if "demo" in facts:
        return make(facts["demo"], facts["given"]).question()
    return facts.get("question")


def wrong(name: str) -> list[Any]:
    """Answers of the right kind that are not right."""
    answer, question = RIGHT[name], asked(name)
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
    verdict = check(name, RIGHT[name])
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
    answer = RIGHT[name]
    if isinstance(answer, float | int) and answer not in (0.5, 1, 3):
        assert f" {answer:g}" not in f" {text}"


def test_answers_are_kept_for_every_exercise():
    assert list(RIGHT) == exercises()


def test_text_and_tuples_are_answers_too():
    assert check("1.1", "32")
    assert check("3.2", (2, 0.5))
    assert check("12.1", ["4", "2"])
