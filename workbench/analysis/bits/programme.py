"""The best choice of bits under budgets, as an integer programme (HAWQ-V3, arXiv:2011.10680).

    minimise  Σ_i Σ_k harm_ik x_ik  +  Σ_ij Σ_kl harm_ijkl y_ijkl
    with      Σ_k x_ik = 1,   Σ_ik cost_ik x_ik + Σ_ij Σ_kl cost_ijkl y_ijkl <= budget,   x binary
              Σ_l y_ijkl = x_ik,   Σ_k y_ijkl = x_jl         y >= 0: the product x_ik x_jl

It is solved to the optimum by scipy's HiGHS, in less than a second for some forty layers.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from workbench.analysis.bits.problem import Pair, Problem
from workbench.foundation.errors import RecipeError, WorkbenchError

#: a budget is tightened by these shares, until rounding inside the solver does not exceed it
SHRINK = (0.0, 1e-9, 1e-7, 1e-6, 1e-5, 1e-4)
#: the solver's own tolerances are absolute; the largest harm is scaled to this
SCALE = 1e4
#: how a message calls what a budget limits
NAMED = {"bytes": "the size in bytes", "file_bytes": "the size of the file in bytes",
         "average_bits": "the average number of bits", "bops": "the number of bit operations",
         "latency_ms": "the latency in milliseconds"}  # fmt: skip
_ONE_AT_A_TIME = threading.Lock()

Entries = list[tuple[int, int, float]]


def solve(problem: Problem, budgets: Mapping[str, float]) -> dict[str, int]:
    """Bits by variable with the least harm that keep every budget.

    Args:
        problem: see `Problem`.
        budgets: by resource; none of them gives the least harm of all.

    Raises:
        RecipeError: no choice keeps the budgets; says what the least comes to.
    """
    require(problem, budgets)
    for share in SHRINK:
        limits = {name: limit - share * abs(limit) for name, limit in budgets.items()}
        found = _optimum(problem, limits)
        if found is not None and problem.holds(found, budgets):
            return found
    least = _least(problem, budgets)
    if least is not None:
        return least
    raise RecipeError(
        f"no choice of bits keeps all of {', '.join(budgets)} together; raise one of them"
    )


def require(problem: Problem, budgets: Mapping[str, float]) -> None:
    """Refuse a budget below the least that a choice can cost.

    Raises:
        RecipeError: an unknown resource, or too small a budget.
    """
    if not problem.variables:
        raise RecipeError("no weight has a choice of bits here; widen 'least' and 'most'")
    for name, limit in budgets.items():
        if name not in problem.resources:
            raise RecipeError(
                f"there is no cost called '{name}'; known are: {', '.join(problem.resources)}"
            )
        least = problem.range(name)[0]
        if limit < least and not math.isclose(limit, least, rel_tol=1e-9):
            raise RecipeError(
                f"{NAMED.get(name, name)} was {limit:g}, and the least that a choice can cost is"
                f" {least:g}; give that or more, allow fewer bits, or drop a pin"
            )


def _least(problem: Problem, budgets: Mapping[str, float]) -> dict[str, int] | None:
    """What costs least of the one resource, where a budget leaves room for that alone."""
    if len(budgets) != 1:
        return None
    (name,) = budgets
    cheapest = problem.cheapest(name)
    return cheapest if problem.holds(cheapest, budgets) else None


def _optimum(problem: Problem, limits: Mapping[str, float]) -> dict[str, int] | None:
    """None where the solver finds none."""
    layout = _Layout(problem, limits)
    objective = layout.objective()
    largest = float(np.abs(objective).max()) or 1.0
    constraints = [layout.once(), *layout.products(), *layout.limits(limits)]
    with _standard_output_kept():
        found = milp(
            objective * (SCALE / largest),
            integrality=layout.integrality(),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"mip_rel_gap": 0.0},
        )
    if found.status == 2:  # infeasible
        return None
    if found.x is None:
        raise WorkbenchError(f"the integer programme was not solved: {found.message}")
    return layout.bits(found.x)


@contextmanager
def _standard_output_kept() -> Iterator[None]:
    """HiGHS 1.x leaves a line of its own on standard output now and then; it goes to the errors."""
    with _ONE_AT_A_TIME:
        sys.stdout.flush()
        try:
            kept = os.dup(1)
        except OSError:  # there is none
            yield
            return
        try:
            os.dup2(2, 1)
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def _counts(pair: Pair, limits: Mapping[str, float]) -> bool:
    """Whether a pair has a say in the objective or in a budget."""
    return any(chain(*pair.harm)) or any(name in pair.costs for name in limits)


class _Layout:
    """Where the unknowns of a problem stand in one vector."""

    def __init__(self, problem: Problem, limits: Mapping[str, float]) -> None:
        self._problem = problem
        self._pairs = [pair for pair in problem.pairs if _counts(pair, limits)]
        sizes = [len(variable.bits) for variable in problem.variables]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        self._start = {v.name: int(s) for v, s in zip(problem.variables, starts, strict=False)}
        self._choices = int(starts[-1])
        counts = [len(pair.harm) * len(pair.harm[0]) for pair in self._pairs]
        self._pair_starts = self._choices + np.concatenate([[0], np.cumsum(counts)]).astype(int)
        self._size = self._choices + sum(counts)

    def objective(self) -> NDArray[np.float64]:
        alone = [value for variable in self._problem.variables for value in variable.harm]
        joint = [value for pair in self._pairs for row in pair.harm for value in row]
        return np.asarray([*alone, *joint], dtype=float)

    def integrality(self) -> NDArray[np.float64]:
        return (np.arange(self._size) < self._choices).astype(float)

    def once(self) -> LinearConstraint:
        """Each variable has one of its choices."""
        entries = [
            (row, self._start[v.name] + k, 1.0)
            for row, v in enumerate(self._problem.variables)
            for k in range(len(v.bits))
        ]
        return self._rows(entries, len(self._problem.variables), 1.0, 1.0)

    def limits(self, limits: Mapping[str, float]) -> Iterable[LinearConstraint]:
        """One row for each budget, scaled so that it is 1."""
        for name, limit in limits.items():
            room = limit - self._problem.fixed.get(name, 0.0)
            scale = abs(room) or 1.0
            entries = [
                (0, self._start[v.name] + k, cost / scale)
                for v in self._problem.variables
                for k, cost in enumerate(v.costs[name])
            ]
            for pair, start in zip(self._pairs, self._pair_starts, strict=False):
                joint = chain(*pair.costs.get(name, ()))
                entries += [(0, int(start) + k, cost / scale) for k, cost in enumerate(joint)]
            yield self._rows(entries, 1, -np.inf, room / scale)

    def products(self) -> Iterable[LinearConstraint]:
        """Both margins of each pair's table are the choices of its variables."""
        for pair, start in zip(self._pairs, self._pair_starts, strict=False):
            yield self._margins(pair, int(start))

    def bits(self, x: NDArray[np.float64]) -> dict[str, int]:
        found = {}
        for v in self._problem.variables:
            start = self._start[v.name]
            found[v.name] = v.bits[int(np.argmax(x[start : start + len(v.bits)]))]
        return found

    def _margins(self, pair: Pair, start: int) -> LinearConstraint:
        rows, columns = len(pair.harm), len(pair.harm[0])
        entries: Entries = []
        for a in range(rows):
            entries += [(a, start + a * columns + b, 1.0) for b in range(columns)]
            entries.append((a, self._start[pair.first] + a, -1.0))
        for b in range(columns):
            entries += [(rows + b, start + a * columns + b, 1.0) for a in range(rows)]
            entries.append((rows + b, self._start[pair.second] + b, -1.0))
        return self._rows(entries, rows + columns, 0.0, 0.0)

    def _rows(self, entries: Entries, count: int, low: float, high: float) -> LinearConstraint:
        rows, columns, values = zip(*entries, strict=True)
        return LinearConstraint(
            coo_array((values, (rows, columns)), shape=(count, self._size)).tocsr(), low, high
        )
