"""A range too tight or too wide. Counterfactual: the best of other calibrators on the same data."""

from __future__ import annotations

from dataclasses import replace

from workbench.analysis.causes.case import Case
from workbench.analysis.causes.changes import decibel, option, wider
from workbench.analysis.causes.finding import Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.units import Unit

TRIED = ("minmax", "percentile", "mse", "l2", "aciq")


@cause(
    "clipping",
    title="Range too tight or too wide",
    order=50,
    serves=("weight", "activation"),
    where="any tensor",
    changes="the range that another calibrator finds in the same data",
)
def clipping(case: Case, unit: Unit) -> Finding | None:
    """Another calibrator's range would do less damage."""
    field = "weights" if unit.site.kind == "weight" else "activations"
    own = getattr(case.network.ranges, field)
    tried = {}
    for name in TRIED:
        if name != own:
            made = case.refitted(unit, ranges=replace(case.network.ranges, **{field: name}))
            tried[name] = (case.damage({unit.name: made}), made)
    best = min(tried, key=lambda name: tried[name][0])
    after, made = tried[best]
    before, reach = (float(q.reach().mean()) for q in (case.model.quantizer(unit.name), made))
    before_db, after_db = case.db(unit), case.db(unit, made)
    word = "wide" if reach < before else "tight"
    sentence = (
        f"the range reaches {before:.3g}, which is too {word}; '{best}' would choose {reach:.3g}"
        f" and move SQNR from {before_db:.1f} to {decibel(after_db)}"
    )
    name = "weight_calibrator" if field == "weights" else "calibrator"
    cures = (option(name, best, after), *wider(case, unit))
    evidence = {"reach": before, "better": reach, "calibrator": best}
    return Finding(
        unit.name, sentence, before_db, after_db, case.own_damage, after, cures, evidence
    )
