"""Exercises with a checked answer: a function under an id, a question, or that of a demo.

    @exercise("1.2", title="Count the levels", hint="Two to the power of what?")
    def levels(answer: object) -> str:
        \"\"\"How many levels has a grid of 5 bits?\"\"\"
        return "" if as_number(answer) == 2 ** 5 else "that is another number"

    @question("1.3", Question("How many levels has a grid of 5 bits?"), title="Count the levels")
    def five() -> float:
        return 2**5

    demo_question("1.4", "number_line", {"bits": 3})

A check gives "" for a right answer, otherwise a sentence that helps and does not tell it; a
question's function computes the right answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Any, TypeVar

from workbench.foundation.errors import WorkbenchError
from workbench.foundation.registry import Registry
from workbench.lessons.base import Answer, Question, as_number
from workbench.lessons.registry import DEMOS, make

Check = Callable[[object], str]
Truth = Callable[[], Answer]
Kept = TypeVar("Kept", bound=Truth)
EXERCISES: Registry[Check] = Registry("exercise", "workbench.lessons.exercises")
UNSOLVED = "not answered yet: give your answer instead of None"


@dataclass(frozen=True)
class Verdict:
    """Right or wrong, with a sentence; true where the answer is right."""

    exercise: str
    right: bool
    text: str

    def __bool__(self) -> bool:
        return self.right

    @property
    def points(self) -> float:
        """One for a right answer, else none."""
        return float(self.right)

    def __str__(self) -> str:
        sign = "✓" if self.right else "·" if self.text == UNSOLVED else "✗"
        return f"{self.exercise} {sign} {self.text}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        tone = "#1f7a37" if self.right else "#6b7280" if self.text == UNSOLVED else "#b3261e"
        return f'<p style="color:{tone};font-weight:600">{escape(str(self))}</p>'

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """For notebooks: the sentence, and as plain text the points, which nbgrader reads."""
        return {"text/html": self._repr_html_(), "text/plain": str(self.points)}


def exercise(name: str, *, title: str, hint: str = "") -> Callable[[Check], Check]:
    """Register a check under an id such as "3.2"; its docstring's first line is the task."""
    return EXERCISES.register(name, title=title, hint=hint)


def question(name: str, asked: Question, *, title: str) -> Callable[[Kept], Kept]:
    """Register a question under an id; the decorated function computes the right answer."""

    def register(truth: Kept) -> Kept:
        def check_it(answer: object) -> str:
            return _judged(asked, truth(), answer)

        check_it.__doc__ = asked.text
        EXERCISES.register(name, title=title, question=asked, truth=truth)(check_it)
        return truth

    return register


def demo_question(
    name: str, demo: str, options: Mapping[str, Any] | None = None, title: str = ""
) -> None:
    """Register a demo's question, with these options, under an id."""

    def check_it(answer: object) -> str:
        return _of_demo(demo, options or {}, answer)

    check_it.__doc__ = f"The question of the demo '{demo}'."
    EXERCISES.register(name, title=title or demo, demo=demo, given=dict(options or {}))(check_it)


def check(name: str, answer: object, **options: Any) -> Verdict:
    """Whether `answer` solves an exercise.

    Args:
        name: id of an exercise ("3.2"), or name of a demo, whose question is then meant.
        answer: None is never right.
        options: of the demo, where its question depends on them.

    Raises:
        RecipeError: there is no such exercise.

    Example:
        >>> bool(check("number_line", None))
        False
    """
    found = None if name in DEMOS else EXERCISES[name]
    if _unsolved(answer):
        return Verdict(name, False, UNSOLVED)
    try:
        fault = _of_demo(name, options, answer) if found is None else found.make(answer)
    except WorkbenchError:
        raise
    except Exception as error:  # noqa: BLE001 - an answer can be anything, and raise anything
        fault = f"the answer could not be read ({type(error).__name__}: {error})"
    if not fault:
        return Verdict(name, True, "right")
    hint = str(found.facts.get("hint", "")) if found else ""
    return Verdict(name, False, f"{fault}. {hint}".strip())


def _unsolved(answer: object) -> bool:
    return answer is None or answer is Ellipsis or (isinstance(answer, str) and not answer.strip())


def _of_demo(name: str, options: Mapping[str, Any], answer: object) -> str:
    """What is wrong with an answer to a demo's question."""
    given = DEMOS.parsed(name, options).model_dump(mode="json", exclude_defaults=True)
    return _judged(*_solved(name, json.dumps(given, sort_keys=True)), answer)


@lru_cache(maxsize=64)
def _solved(name: str, options: str) -> tuple[Question, Answer]:
    """A demo's question with its answer, which some take seconds to compute; a class asks often."""
    demo = make(name, json.loads(options))
    return demo.question(), demo.answer()


def _judged(asked: Question, truth: Answer, answer: object) -> str:
    """What is wrong with an answer to a question."""
    if asked.accepts(answer, truth):
        return ""
    help_ = f": {asked.hint[:1].lower()}{asked.hint[1:]}" if asked.hint else ""
    if asked.choices:
        offered = ", ".join(f"'{choice}'" for choice in asked.choices)
        unknown = f"the answer is one of {offered}"
        return f"that is not it{help_}" if asked.admits(answer) else unknown
    found = as_number(answer)
    if found is None or isinstance(truth, str):
        return f"a number is asked for{help_}"
    return f"that is too {'large' if found > truth else 'small'}{help_}"
