"""Lesson 10: distillation and no data."""

from __future__ import annotations

import math

from workbench.lessons.base import Question
from workbench.lessons.checking import demo_question, question


@question(
    "10.1",
    Question(
        "KL of (0.5, 0.5) from a student's (0.25, 0.75), in nats?",
        tolerance=0.005,
        hint="sum p log(p / q), with the natural logarithm",
    ),
    title="A divergence",
)
def divergence() -> float:
    """The teacher weighs."""
    return 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)


@question(
    "10.2",
    Question(
        "Logits (2, 0) at temperature 2: how probable is the first class?",
        tolerance=0.005,
        hint="divide first, then softmax",
    ),
    title="Temperature",
)
def warm() -> float:
    """Softmax of (1, 0)."""
    return math.e / (math.e + 1)


@question(
    "10.3",
    Question(
        "Which network is ZeroQ of no help for?",
        choices=("a", "b", "c"),
        hint="which of them does not remember statistics?",
    ),
    title="Nothing remembered",
)
def nothing_remembered() -> str:
    """LayerNorm computes its statistics anew for each token."""
    return "b"


demo_question("10.4", "distillation", title="Which way the logit goes")
