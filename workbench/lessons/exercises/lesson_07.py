"""Lesson 7: training with the quantizer in the loop."""

from __future__ import annotations

import math

from workbench.lessons.base import Question
from workbench.lessons.checking import demo_question, question


@question(
    "7.1",
    Question(
        "s = 0.2, signed 4 bits, w = 0.47: what is the derivative of the quantized weight by s?",
        tolerance=0.01,
        hint="v = w / s, and it lies inside the range",
    ),
    title="LSQ's gradient",
)
def gradient_of_the_step() -> float:
    """Level minus place."""
    place = 0.47 / 0.2
    return round(place) - place


@question(
    "7.2",
    Question(
        "64 x 64 x 3 x 3 weights share one scale of a grid whose highest code is 1: what is g?",
        tolerance=0.01,
        hint="one over the root of a product",
    ),
    title="The gradient scale",
)
def gradient_scale() -> float:
    """The more weights pull, the smaller."""
    return 1 / math.sqrt(64 * 64 * 3 * 3 * 1)


demo_question("7.3", "lsq", title="What becomes of the step?")
