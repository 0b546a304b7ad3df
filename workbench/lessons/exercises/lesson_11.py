"""Lesson 11: transformers."""

from __future__ import annotations

import math

from workbench.lessons.answers import close, numbers
from workbench.lessons.base import Question
from workbench.lessons.checking import demo_question, exercise, question


@question(
    "11.1",
    Question(
        "max |X| = 64, max |W| = 0.25, alpha = 1/2: by which factor does SmoothQuant divide?",
        tolerance=0.005,
        hint="a root over a root",
    ),
    title="SmoothQuant by hand",
)
def smooth_factor() -> float:
    """It brings both sides to one range."""
    return math.sqrt(64) / math.sqrt(0.25)


@exercise("11.2", title="After smoothing", hint="what one side is divided by multiplies the other")
def after_smoothing(answer: object) -> str:
    """What are max |X| and max |W| then? A list of two numbers."""
    found = numbers(answer)
    if len(found) != 2:
        return "a list of two numbers is asked for"
    right = [64 / smooth_factor(), 0.25 * smooth_factor()]
    return "" if all(map(close, found, right)) else "that is not it"


@question(
    "11.3",
    Question(
        "64 channels, one is 8, the others 0: what is the largest magnitude after an orthonormal"
        " Hadamard rotation?",
        tolerance=0.001,
        hint="each entry of the result is one entry of the matrix times 8",
    ),
    title="An outlier, rotated",
)
def rotated_outlier() -> float:
    """Spread over all 64."""
    return 8 / math.sqrt(64)


demo_question("11.4", "log_twin", title="Levels for a softmax")
