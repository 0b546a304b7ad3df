"""Lesson 2: calibration."""

from __future__ import annotations

from workbench.lessons.base import Question
from workbench.lessons.checking import demo_question, question

demo_question("2.1", "clip_or_round", title="Where should the range end?")


@question(
    "2.2",
    Question(
        "A Laplace law with b = 0.8 is clipped at 5.03 b and quantized symmetrically to 4 bits over"
        " the full range. What is the step?",
        tolerance=0.005,
        hint="the codes run from -8 to 7, and half of their distance is 7.5",
    ),
    title="A step from ACIQ",
)
def step_from_aciq() -> float:
    """The clip over half the number of steps."""
    return 5.03 * 0.8 / ((7 - -8) / 2)


@question(
    "2.3",
    Question(
        "Calibrating on the test set itself gives the best score. Which is right?",
        choices=("a", "b", "c"),
        hint="what is the score meant to tell about?",
    ),
    title="The test set",
)
def the_test_set() -> str:
    """A range that has seen the test set is judged on what it was chosen for."""
    return "b"
