"""A range that one calibration example sets. Counterfactual: calibrated without it."""

from __future__ import annotations

import torch

from workbench.analysis.causes.case import Case, fitted
from workbench.analysis.causes.changes import decibel, option, wider
from workbench.analysis.causes.finding import Cure, Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.units import Unit

#: an example that reaches so many times as far as any other
TIMES = 1.5


@cause(
    "one-sample",
    title="Range set by one example",
    order=8,
    serves=("activation",),
    where="activations that are calibrated on few or unclean examples",
    changes="calibrated without that example",
)
def one_sample(case: Case, unit: Unit) -> Finding | None:
    """One calibration example reaches far beyond all others."""
    seen = case.network.calibration_values(unit.site.tensor)
    if any(v.ndim < 2 for v in seen) or not unit.site.grid.per_tensor:
        return None
    reach = torch.cat([v.flatten(1).abs().amax(1) for v in seen])
    if len(reach) < 3:
        return None
    worst = int(reach.argmax())
    second = float(reach.topk(2).values[1])
    if float(reach[worst]) < TIMES * second:
        return None
    kept = [torch.cat(list(seen))[torch.arange(len(reach)) != worst]]
    ranges = case.network.ranges.activations
    made = fitted(unit.site, kept, calibrator=ranges)
    after = case.damage({unit.name: made})
    before_db, after_db = case.db(unit), case.db(unit, made)
    sentence = (
        f"calibration example {worst} reaches {float(reach[worst]):.3g}, all others at most"
        f" {second:.3g}; without it SQNR would rise from {before_db:.1f} to {decibel(after_db)}"
    )
    cures = (
        option("calibrator", "percentile", _with(case, unit, "percentile")),
        option("calibrator", "moving_average", _with(case, unit, "moving_average")),
        Cure("held-out", "calibrate on some of the held-out examples", {"data": "held-out"}, after),
        *wider(case, unit),
    )
    evidence = {"example": worst, "reach": float(reach[worst]), "second": second}
    return Finding(
        unit.name, sentence, before_db, after_db, case.own_damage, after, cures, evidence
    )


def _with(case: Case, unit: Unit, calibrator: str) -> float:
    seen = case.network.calibration_values(unit.site.tensor)
    return case.damage({unit.name: fitted(unit.site, seen, calibrator=calibrator)})
