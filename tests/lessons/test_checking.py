"""Exercises: right, wrong with a hint, and never solved by nothing."""

from __future__ import annotations

import math

import pytest

import workbench
from workbench.foundation.errors import RecipeError
from workbench.lessons.checking import EXERCISES, check
from workbench.lessons.registry import DEMOS, make


@pytest.mark.parametrize("name", DEMOS.names())
def test_a_demos_question_is_an_exercise(name: str):
    demo = make(name)
    assert check(name, demo.answer())
    for nothing in (None, ..., "", "  "):
        verdict = check(name, nothing)
        assert not verdict
        assert "not answered yet" in verdict.text
    for wrong in ("no idea", [], {}, math.nan, object(), lambda: 1, True):
        assert not check(name, wrong)


@pytest.mark.parametrize("name", DEMOS.names())
def test_a_wrong_answer_gets_a_hint_that_does_not_tell(name: str):
    demo = make(name)
    question, answer = demo.question(), demo.answer()
    wrong = next((c for c in question.choices if c != answer), None)
    verdict = check(name, wrong if question.choices else float(answer) * 3 + 7)
    assert not verdict
    assert str(answer) not in verdict.text


@pytest.mark.parametrize("name", EXERCISES.names() or [None])
def test_no_exercise_is_solved_by_nothing(name: str | None):
    if name is None:
        pytest.skip("the course has no exercises of its own yet")
    for nothing in (None, ..., "", "no idea", [], math.nan, object()):
        assert not check(name, nothing)


def test_options_belong_to_the_question():
    assert check("number_line", make("number_line", {"bits": 5}).answer(), bits=5)


def test_an_unknown_exercise_is_refused():
    with pytest.raises(RecipeError, match=r"exercise '99\.9'"):
        check("99.9", 1)


def test_the_course_is_a_name_of_the_package():
    verdict = workbench.course.check("lsq", "it settles")
    assert verdict.right
    assert "✓" in verdict._repr_html_()
