"""Half a grid for values that do not occur. Counterfactual: a grid with a zero-point."""

from __future__ import annotations

from dataclasses import replace

import torch

from workbench.analysis.causes.case import Case
from workbench.analysis.causes.changes import decibel, wider
from workbench.analysis.causes.finding import Cure, Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.units import Unit

#: the smaller side is no more than this share of the larger one
ONE_SIDED = 0.25
#: the same where each channel has its scale, for at least `MANY` of them
LOPSIDED, MANY = 0.5, 0.25


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
    seen = _lopsided(case, unit) if unit.site.kind == "weight" else _one_sided(case, unit)
    if seen is None:
        return None
    words, evidence = seen
    made = case.refitted(unit, replace(grid, signed=False, symmetric=False, narrow=False))
    after = case.damage({unit.name: made})
    before_db, after_db = case.db(unit), case.db(unit, made)
    sentence = (
        f"{words} on a grid that reaches as far on both sides; a"
        f" zero-point would raise SQNR from {before_db:.1f} to {decibel(after_db)}"
    )
    kind = "weights" if unit.site.kind == "weight" else "activations"
    pointed = Cure(
        "zero-points", f"zero-points for all {kind}", {kind: {"symmetric": False}}, after
    )
    cures = (pointed, *wider(case, unit))
    return Finding(
        unit.name, sentence, before_db, after_db, case.own_damage, after, cures, evidence
    )


def _one_sided(case: Case, unit: Unit) -> tuple[str, dict[str, float]] | None:
    """Words and numbers of values that lie on one side; None where they do not."""
    values = case.values(unit)
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    if max(0.0, min(-low, high)) > ONE_SIDED * max(-low, high):
        return None
    return f"values run from {low:.3g} to {high:.3g}", {"low": low, "high": high}


def _lopsided(case: Case, unit: Unit) -> tuple[str, dict[str, float]] | None:
    """The same of a weight, for what shares a scale."""
    rows = unit.site.grid.granularity.rows(case.values(unit)[0])
    low, high = -rows.amin(1), rows.amax(1)
    smaller = torch.minimum(low, high).clamp(min=0)
    count = int((smaller <= LOPSIDED * torch.maximum(low, high)).sum())
    if count < MANY * len(rows):
        return None
    words = f"{count} of {len(rows)} scales reach twice as far to one side as to the other"
    return words, {"lopsided": count, "scales": len(rows)}
