"""Lesson 12: mixed precision."""

from __future__ import annotations

from itertools import product

from workbench.lessons.answers import numbers
from workbench.lessons.base import Question
from workbench.lessons.checking import demo_question, exercise, question

SIZES = (100, 400)
HARM = ({2: 8.0, 3: 2.0, 4: 1.0}, {2: 6.0, 3: 1.0, 4: 0.5})
BUDGET = 1400


def best_bits() -> list[int]:
    """The widths with the least harm within the budget, by trying all."""
    fitting = [
        bits
        for bits in product((2, 3, 4), repeat=2)
        if sum(n * b for n, b in zip(SIZES, bits, strict=True)) <= BUDGET
    ]
    return list(min(fitting, key=lambda bits: HARM[0][bits[0]] + HARM[1][bits[1]]))


@exercise("12.1", title="A small knapsack", hint="there are nine choices; which of them fit?")
def small_knapsack(answer: object) -> str:
    """Two layers, three widths, 1,400 bits: which widths do the least harm? A list [A, B]."""
    found = numbers(answer)
    if len(found) != 2 or set(found) - {2.0, 3.0, 4.0}:
        return "a list of two widths, each 2, 3 or 4, is asked for"
    if sum(n * b for n, b in zip(SIZES, found, strict=True)) > BUDGET:
        return "that is over the budget"
    return "" if found == best_bits() else "another choice within the budget does less harm"


@question(
    "12.2",
    Question(
        "1,000 weights of 4 bits and 3,000 of 2 bits: how many bits on average?",
        tolerance=0.001,
        hint="weigh by the number of weights",
    ),
    title="Average bits",
)
def average_bits() -> float:
    """All bits over all weights."""
    return (1000 * 4 + 3000 * 2) / 4000


@question(
    "12.3",
    Question(
        "9.2 million multiply-adds, 4-bit weights, 8-bit activations: how many million BOPs?",
        tolerance=0.001,
        unit="million",
        hint="a product of two numbers of a and b bits takes a times b bit operations",
    ),
    title="Bit operations",
)
def bit_operations() -> float:
    """MACs times both widths."""
    return 9.2 * 4 * 8


demo_question("12.4", "bit_budget", title="What a mixture saves")
