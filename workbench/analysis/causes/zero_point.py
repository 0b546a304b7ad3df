"""Half a grid for values that do not occur. Counterfactual: a grid with a zero-point."""

from __future__ import annotations

from dataclasses import replace

from workbench.analysis.causes.case import Case
from workbench.analysis.causes.changes import decibel, wider
from workbench.analysis.causes.finding import Cure, Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.units import Unit

#: the smaller side is no more than this share of the larger one
ONE_SIDED = 0.25


@cause(
    "zero-point",
    title="Codes wasted on one side",
    order=40,
    serves=("weight", "activation"),
    where="tensors of one sign, such as behind a ReLU, on a signed grid without zero-point",
    changes="the same bits with a zero-point",
)
def zero_point(case: Case, unit: Unit) -> Finding | None:
    """Values lie on one side of a grid that has two."""
    grid = unit.site.grid
    if not (grid.signed and grid.symmetric and grid.uniform):
        return None
    values = case.values(unit)
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    smaller = max(0.0, min(-low, high))
    larger = max(-low, high)
    if unit.site.kind == "activation" and smaller > ONE_SIDED * larger:
        return None
    made = case.refitted(unit, replace(grid, signed=False, symmetric=False, narrow=False))
    after = case.damage({unit.name: made})
    before_db, after_db = case.db(unit), case.db(unit, made)
    sentence = (
        f"values run from {low:.3g} to {high:.3g} on a grid that reaches as far on both sides; a"
        f" zero-point would raise SQNR from {before_db:.1f} to {decibel(after_db)}"
    )
    kind = "weights" if unit.site.kind == "weight" else "activations"
    pointed = Cure(
        "zero-points", f"zero-points for all {kind}", {kind: {"symmetric": False}}, after
    )
    evidence = {"low": low, "high": high}
    cures = (pointed, *wider(case, unit))
    return Finding(
        unit.name, sentence, before_db, after_db, case.own_damage, after, cures, evidence
    )
