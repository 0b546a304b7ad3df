"""Too few bits for this distribution: no range does better. Counterfactual: one bit more.

What the grid's theory promises is the least error over ranges; where that is reached, only more
levels help, 6.02 dB for each bit.
"""

from __future__ import annotations

from dataclasses import replace

from workbench.analysis.causes.case import Case
from workbench.analysis.causes.changes import decibel, wider, with_bits
from workbench.analysis.causes.finding import Cure, Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.units import Unit

#: from the best range of these bits
NEAR_DB = 1.5
MOST = {"weight": 8, "activation": 16}


@cause(
    "few-bits",
    title="Too few bits for this distribution",
    order=70,
    serves=("weight", "activation"),
    where="any tensor",
    changes="one bit more",
    more_bits=True,
)
def few_bits(case: Case, unit: Unit) -> Finding | None:
    """The grid does what theory promises, and that is not enough."""
    grid = unit.site.grid
    if grid.bits >= MOST[unit.site.kind] or not grid.uniform:
        return None
    best = case.refitted(unit, ranges=replace(case.network.ranges, weights="l2", activations="l2"))
    before_db, best_db = case.db(unit), case.db(unit, best)
    if best_db > before_db + NEAR_DB:
        return None
    made = case.refitted(unit, grid.with_bits(grid.bits + 1))
    after, after_db = case.damage({unit.name: made}), case.db(unit, made)
    sentence = (
        f"{grid.bits} bits give {decibel(before_db)} here and no range gives more than"
        f" {decibel(max(best_db, before_db))}; {grid.bits + 1} bits would give {decibel(after_db)}"
    )
    more = tuple(with_bits(case, unit, bits) for bits in _steps(unit))
    rounded: tuple[Cure, ...] = ()
    if unit.site.kind == "weight":
        words = "codes chosen by the layer's output error instead of nearest rounding"
        rounded = (Cure("gram", words, {"method": "gram"}),)
    cures = (*more, *rounded, *wider(case, unit))
    return Finding(
        unit.name, sentence, before_db, after_db, case.own_damage, after, cures,
        {"bits": grid.bits, "best_db": best_db},
    )  # fmt: skip


def _steps(unit: Unit) -> tuple[int, ...]:
    bits = unit.site.grid.bits
    return (bits + 1,) if bits + 1 < 8 else ()
