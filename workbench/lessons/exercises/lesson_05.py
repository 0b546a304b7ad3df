"""Lesson 5: reconstruction."""

from __future__ import annotations

from itertools import product

from workbench.lessons.base import Question
from workbench.lessons.checking import exercise, question


@question(
    "5.1",
    Question(
        "A unit learns with float inputs, but gets quantized ones in use. What does it miss?",
        choices=("a", "b", "c"),
        hint="what is the same in both cases, and what is not?",
    ),
    title="Float inputs",
)
def float_inputs() -> str:
    """Errors that it has never seen it cannot take back."""
    return "b"


@question(
    "5.2",
    Question(
        "x = 0.37 on a grid with step 0.25 is quantized with probability one half. What is its"
        " expected value?",
        tolerance=0.001,
        hint="first find its level",
    ),
    title="QDrop's mean",
)
def qdrop_mean() -> float:
    """Half of the way to the level."""
    level = round(0.37 / 0.25) * 0.25
    return (0.37 + level) / 2


def best_pairs() -> list[list[int]]:
    """All pairs of positive integers whose product is nearest to 1.4 squared."""
    pairs = list(product(range(1, 9), repeat=2))
    least = min(abs(u * v - 1.4**2) for u, v in pairs)
    return [[u, v] for u, v in pairs if abs(u * v - 1.4**2) == least]


@exercise("5.3", title="Two layers together", hint="the product should be near 1.96")
def two_layers(answer: object) -> str:
    """u = v = 1.4, integer levels: which pairs have the least error of the product?"""
    if not isinstance(answer, list | tuple) or not all(isinstance(p, list | tuple) for p in answer):
        return "a list of pairs such as [[1, 3], [3, 1]] is asked for"
    found, right = [list(pair) for pair in answer], best_pairs()
    if any(pair not in right for pair in found):
        return "one of these pairs is not among the best"
    return "" if found == right else "there is another one, or the order is another"
