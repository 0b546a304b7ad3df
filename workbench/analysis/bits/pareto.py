"""What more of a resource buys: the best choice at each of several budgets, and the knee.

The knee is the point farthest below the straight line between the two ends, with the cost and the
logarithm of the harm both scaled to [0, 1]: up to it more of the resource buys much, beyond it
little (Satopää et al. 2011, "Finding a kneedle in a haystack").
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.analysis.bits.problem import Problem
from workbench.analysis.bits.programme import require, solve
from workbench.foundation.errors import RecipeError

SMALLEST = 1e-12  # harm, as a share of the largest


@dataclass(frozen=True)
class Point:
    """One choice of bits.

    Attributes:
        bits: by variable.
        harm: what the objective says.
        costs: by resource.
    """

    bits: Mapping[str, int]
    harm: float
    costs: Mapping[str, float]


def point(problem: Problem, bits: Mapping[str, int]) -> Point:
    """A choice with what it harms and costs."""
    return Point(dict(bits), problem.harm(bits), problem.costs(bits))


def sweep(
    problem: Problem, resource: str, count: int, others: Mapping[str, float] | None = None
) -> Iterator[Point]:
    """The best choice at `count` budgets of a resource, from the least it can cost to the most.

    A choice that is the best at several budgets comes once, and one that no more of the resource
    improves ends the sweep.

    Args:
        problem: see `Problem`.
        resource: to sweep; it costs at least a little more for better choices.
        count: of budgets, two or more.
        others: budgets of other resources that hold throughout.
    """
    if count < 2:
        raise RecipeError(f"a sweep of {count} points has no ends; ask for 2 or more")
    require(problem, {resource: problem.range(resource)[1], **(others or {})})
    low, high = problem.range(resource)
    best = math.inf
    for limit in np.linspace(low, high, count):
        try:
            found = point(problem, solve(problem, {resource: float(limit), **(others or {})}))
        except RecipeError:  # so little of this leaves nothing within the other budgets
            continue
        if found.harm < best:
            best = found.harm
            yield found


def knee(costs: Sequence[float], harms: Sequence[float]) -> int | None:
    """Index of the knee of a falling curve; None where it has no inner point or does not bend.

    Args:
        costs: increasing.
        harms: of the same points; at or below zero counts as very small.

    Example:
        >>> knee([0, 1, 2, 3, 4], [1000, 10, 1, 0.8, 0.7])
        2
    """
    if len(costs) < 3:
        return None
    smallest = SMALLEST * max(*harms, SMALLEST)
    x = np.asarray(costs, dtype=float)
    y = np.log([max(harm, smallest) for harm in harms])
    if x[-1] <= x[0] or y[0] <= y[-1]:
        return None
    below = (1 - (x - x[0]) / (x[-1] - x[0])) - (y - y[-1]) / (y[0] - y[-1])
    best = int(np.argmax(below))
    return best if below[best] > 0 else None
