"""Lesson 1: what a quantizer is."""

from __future__ import annotations

import math

from workbench.lessons.base import Question
from workbench.lessons.checking import demo_question, question


@question(
    "1.1",
    Question("How many levels has a grid of 5 bits?", tolerance=0, hint="each bit doubles them"),
    title="Count the levels",
)
def levels() -> float:
    """Two for each bit."""
    return 2**5


demo_question("1.2", "number_line", {"bits": 3}, title="The number line")


@question(
    "1.3",
    Question(
        "The range [-1, 3] is covered by an asymmetric, unsigned grid of 4 bits. Which value does"
        " 2.1 become? Four digits.",
        tolerance=1e-3,
        hint="first the step, then the zero-point, then the code, then the value of the code",
    ),
    title="By hand",
)
def by_hand() -> float:
    """The code is 12, eight steps above the zero-point 4."""
    step = (3 - -1) / 15
    zero = 0 - round(-1 / step)
    code = min(15, max(0, round(2.1 / step) + zero))
    return (code - zero) * step


@question(
    "1.4",
    Question(
        "A weight has an SQNR of 31.0 dB at 6 bits with its whole range covered. About how many"
        " decibels will it have at 8?",
        tolerance=0,
        slack=0.6,
        unit="dB",
        hint="two bits more, each halves the step",
    ),
    title="Two bits more",
)
def two_bits_more() -> float:
    """Six decibels for each."""
    return 31.0 + 2 * 20 * math.log10(2)
