"""Lesson 9: below four bits."""

from __future__ import annotations

import math

from workbench.lessons.answers import close, numbers
from workbench.lessons.base import Question
from workbench.lessons.checking import demo_question, exercise, question

WEIGHTS = (0.9, -0.5, 0.1, -0.7)


@exercise("9.1", title="Information", hint="the binary logarithm of the number of levels")
def information(answer: object) -> str:
    """How many bits of information hold a ternary and a binary weight? A list of both."""
    found, right = numbers(answer), [math.log2(3), 1.0]
    if len(found) != 2:
        return "a list of two numbers is asked for"
    return "" if all(map(close, found, right)) else "that is not it"


@question(
    "9.2",
    Question(
        "w = (0.9, -0.5, 0.1, -0.7): what is the best binary scale?",
        tolerance=0.002,
        hint="magnitudes only",
    ),
    title="Binary by hand",
)
def binary_scale() -> float:
    """The mean magnitude."""
    return sum(map(abs, WEIGHTS)) / len(WEIGHTS)


@question(
    "9.3",
    Question(
        "The same weights with the ternary rule: what is the scale?",
        tolerance=0.002,
        hint="first the threshold, then the mean of what lies above it",
    ),
    title="Ternary by hand",
)
def ternary_scale() -> float:
    """The mean magnitude of those above the threshold."""
    above = [abs(w) for w in WEIGHTS if abs(w) > 0.7 * binary_scale()]
    return sum(above) / len(above)


demo_question("9.4", "kmeans", title="What free levels bring")
