"""Lesson 4: rounding."""

from __future__ import annotations

from workbench.lessons.answers import numbers
from workbench.lessons.base import Question
from workbench.lessons.checking import demo_question, exercise, question


@exercise(
    "4.1", title="Three weights", hint="all inputs are equal, so only the sum of errors counts"
)
def three_weights(answer: object) -> str:
    """Three weights of 0.3, equal inputs: which codes of 0 or 1, in ascending order, are best?"""
    found = numbers(answer)
    if len(found) != 3 or set(found) - {0.0, 1.0}:
        return "a list of three codes, each 0 or 1, is asked for"
    return "" if found == [0.0, 0.0, 1.0] else "another choice has a smaller error"


@question(
    "4.2",
    Question(
        "H = [[1, 0.5], [0.5, 1]], rounding errors (0.2, -0.3): what is the output error?",
        tolerance=0.01,
        hint="two squares, and the product of the errors twice, with its sign",
    ),
    title="The quadratic form",
)
def quadratic_form() -> float:
    """The product takes something away, as the errors have opposite signs."""
    first, second, shared = 0.2, -0.3, 0.5
    return first**2 + second**2 + 2 * shared * first * second


@question(
    "4.3",
    Question("What is h(0)?", tolerance=0.001, hint="the sigmoid of 0 is a half"),
    title="The middle of h",
)
def middle() -> float:
    """Stretched, but still in the middle."""
    return 1.2 * 0.5 - 0.1


demo_question("4.4", "adaround", title="How good is nearest?")
