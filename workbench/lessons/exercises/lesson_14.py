"""Lesson 14: integers and export."""

from __future__ import annotations

import math

from workbench.lessons.base import Question
from workbench.lessons.checking import demo_question, question


@question(
    "14.1",
    Question(
        "Scales 0.02 and 0.005, bias 0.31: which integer is it stored as?",
        tolerance=0,
        hint="its step is the product of the two scales",
    ),
    title="A bias",
)
def stored_bias() -> float:
    """In steps of the accumulator."""
    return round(0.31 / (0.02 * 0.005))


@question(
    "14.2",
    Question(
        "Codes (10, 200) with zero-point 128, weights (3, -2): what does the accumulator hold?",
        tolerance=0,
        hint="take the zero-point off first, or its product with the sum of the weights afterwards",
    ),
    title="An accumulator",
)
def accumulated() -> float:
    """Both ways give the same."""
    return sum(w * (x - 128) for x, w in zip((10, 200), (3, -2), strict=True))


@question(
    "14.3",
    Question(
        "M = 0.0075: which shift n brings M times 2 to the n between 2 to the 30 and 2 to the 31?",
        tolerance=0,
        hint="the binary logarithm of M is about -7.06",
    ),
    title="A shift",
)
def shift() -> float:
    """So that the multiplier uses all of its bits."""
    return 30 - math.floor(math.log2(0.0075))


demo_question("14.4", "integer_only", title="How wide the sum is")
