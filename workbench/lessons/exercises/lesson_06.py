"""Lesson 6: second order."""

from __future__ import annotations

from workbench.lessons.base import Question
from workbench.lessons.checking import demo_question, question


@question(
    "6.1",
    Question(
        "H = [[2, 1], [1, 2]], w = (0.4, 0.4): GPTQ rounds the first weight to 0. Which value does"
        " the second have then?",
        tolerance=0.005,
        hint="the inverse of H is [[2, -1], [-1, 2]] / 3",
    ),
    title="A step of GPTQ",
)
def gptq_step() -> float:
    """It makes up for half of the error, as the inputs half agree."""
    first, second = 2 / 3, -1 / 3  # of the inverse's first column
    return 0.4 - (0.4 - 0.0) / first * second


@question(
    "6.2",
    Question(
        "The same H and w, codes (0, 0): which value does the first weight's exact step wish for?",
        tolerance=0.005,
        hint="the gradient is the first row of H times (0 - 0.4, 0 - 0.4)",
    ),
    title="A step in Gram space",
)
def gram_step() -> float:
    """The parabola's lowest point."""
    gradient = 2 * (0 - 0.4) + 1 * (0 - 0.4)
    return 0 - gradient / 2


@question(
    "6.3",
    Question(
        "512 inputs, H in 32-bit floats: how many bytes after 10,000 examples?",
        tolerance=0,
        unit="bytes",
        hint="does it grow with the examples?",
    ),
    title="The size of H",
)
def size_of_h() -> float:
    """It is a matrix of the inputs alone."""
    return 512 * 512 * 4


demo_question("6.4", "gptq", title="What GPTQ gives up")
