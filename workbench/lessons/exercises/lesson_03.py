"""Lesson 3: granularity."""

from __future__ import annotations

import math

from workbench.lessons.answers import close, numbers
from workbench.lessons.base import Question
from workbench.lessons.checking import demo_question, exercise, question


@question(
    "3.1",
    Question(
        "Weights of 4 bits in groups of 32, each with a scale of 16 bits: how many bits does a"
        " weight take on average?",
        tolerance=0.001,
        hint="the scale is shared by the group",
    ),
    title="The price of a scale",
)
def the_price_of_a_scale() -> float:
    """Its bits, divided among the group."""
    return 4 + 16 / 32


@exercise("3.2", title="Equalize by hand", hint="c = sqrt(r1 / r2) brings both sides to one size")
def equalize_by_hand(answer: object) -> str:
    """Ranges [8, 0.5] before and [2, 2] behind: which factors does equalization divide by?"""
    found = numbers(answer)
    if len(found) != 2:
        return "a list of two numbers is asked for"
    right = [math.sqrt(8 / 2), math.sqrt(0.5 / 2)]
    wrong = [i + 1 for i, pair in enumerate(zip(found, right, strict=True)) if not close(*pair)]
    return f"factor {wrong[0]} is another" if wrong else ""


@question(
    "3.3",
    Question(
        "1024 x 1024 weights of 4 bits: by what percentage do they grow when one scale of 32 bits"
        " becomes one for each output channel?",
        tolerance=0.02,
        unit="%",
        hint="1023 scales more, in a matrix of 512 KiB",
    ),
    title="The price of channels",
)
def the_price_of_channels() -> float:
    """Next to nothing."""
    return 100 * 1023 * 32 / (1024 * 1024 * 4 + 32)


demo_question("3.4", "granularity", title="Which granularity?")
