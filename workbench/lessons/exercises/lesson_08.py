"""Lesson 8: gradient estimators."""

from __future__ import annotations

from workbench.lessons.base import Question
from workbench.lessons.checking import demo_question, question


@question(
    "8.1",
    Question(
        "EWGS with delta 0.6 and 3 steps, at x = 2.4, upstream gradient -1: what is handed back?",
        tolerance=0.005,
        hint="the place above its level is 0.4, and the sign of g turns it round",
    ),
    title="EWGS by hand",
)
def ewgs_by_hand() -> float:
    """g (1 + delta sign(g) (x - round(x)) / n)."""
    upstream, place = -1.0, 2.4 - round(2.4)
    return upstream * (1 + 0.6 * -1 * place / 3)


@question(
    "8.2",
    Question(
        "A straight-through weight with its target at 0.25 between levels 0 and 1: which share of"
        " the steps is at the upper one?",
        tolerance=0.02,
        hint="in the long run the pushes up and down have to cancel",
    ),
    title="How long at the top",
)
def share_at_the_top() -> float:
    """p (1 - t) = (1 - p) t."""
    return 0.25


@question(
    "8.3",
    Question(
        "SGD with twice the straight-through gradient: which change gives the old training back?",
        choices=("a", "b", "c"),
        hint="SGD moves by rate times gradient",
    ),
    title="A factor of two",
)
def factor_of_two() -> str:
    """Half the rate."""
    return "a"


demo_question("8.4", "oscillation", title="Where weights gather")
