"""Weights that fit the calibration data, and nothing else. Counterfactual: nearest rounding.

Codes that learning chose should do less damage on held-out data than the nearest ones of the same
grid. Where they do more, what they learned was the calibration data.
"""

from __future__ import annotations

from workbench.analysis.causes.case import Case
from workbench.analysis.causes.changes import decibel
from workbench.analysis.causes.finding import Cure, Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.units import Unit


@cause(
    "over-fitted",
    title="Weights over-fitted to calibration data",
    order=25,
    serves=("weight",),
    where="weights that a method has learned from few examples",
    changes="the nearest codes on the same grid",
)
def over_fitted(case: Case, unit: Unit) -> Finding | None:
    """Nearest rounding does less damage on held-out data than what was learned."""
    made = case.refitted(unit, case.model.quantizer(unit.name).grid)
    after = case.damage({unit.name: made})
    before_db, after_db = case.db(unit), case.db(unit, made)
    sentence = (
        f"on held-out data the learned weights do {case.own_damage / max(after, 1e-30):.1f} times"
        f" the damage of nearest ones, whose SQNR is {decibel(after_db)} instead of"
        f" {before_db:.1f}"
    )
    cures = (
        Cure("rtn", "nearest rounding", {"method": "rtn"}, after),
        Cure("more-examples", "1,024 calibration examples", {"calibration_examples": 1024}),
    )
    return Finding(unit.name, sentence, before_db, after_db, case.own_damage, after, cures)
