"""Lesson 13: diagnosis."""

from __future__ import annotations

from workbench.lessons.base import Question
from workbench.lessons.checking import demo_question, question

ALONE = (30, 31, 13, 25, 22)


@question(
    "13.1",
    Question(
        "Accumulated 30, 29, 12, 11, 9 dB; alone 30, 31, 13, 25, 22 dB: which layer is it?",
        tolerance=0,
        hint="victims are good when they are alone",
    ),
    title="Culprit or victim",
)
def culprit() -> float:
    """The one that is bad by itself."""
    return ALONE.index(min(ALONE)) + 1


@question(
    "13.2",
    Question(
        "6 bits over the whole range, 12 dB instead of 27: which cause is most likely?",
        choices=("a", "b", "c"),
        hint="what makes a step coarse for most values?",
    ),
    title="Fifteen decibels short",
)
def short_of_theory() -> str:
    """Outliers stretch the range."""
    return "a"


@question(
    "13.3",
    Question(
        "The error is 0.9 steps where theory expects 0.289: what does the layer do?",
        choices=("a", "b", "c"),
        hint="how large can an error of rounding be?",
    ),
    title="Too large to be rounding",
)
def too_large() -> str:
    """Rounding never errs by more than half a step."""
    return "b"


demo_question("13.4", "guilty_game", title="Which layer is it?")
