"""Calibration data unlike those that judge. Counterfactual: the range of held-out values.

Besides, mean and deviation of the tensor are compared on both: a range is always a little better
on the data that it was found on, which is no illness.
"""

from __future__ import annotations

import torch

from workbench.analysis.causes.case import Case, fitted
from workbench.analysis.causes.changes import decibel, wider
from workbench.analysis.causes.finding import Cure, Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.units import Unit

#: means apart by this share of a deviation, or deviations by this factor, are unlike
SHIFT, SPREAD = 0.5, 1.5


@cause(
    "calibration-data",
    title="Calibration data unlike evaluation data",
    order=10,
    serves=("activation",),
    where="activations; everywhere if the input is preprocessed in another way",
    changes="the range found on held-out data",
)
def calibration_data(case: Case, unit: Unit) -> Finding | None:
    """Statistics of both data differ, and a range from held-out data would mend the site."""
    seen = case.network.calibration_values(unit.site.tensor)
    held_out = case.values(unit)
    (m0, s0), (m1, s1) = _moments(seen), _moments(held_out)
    wide = max(s0, s1) / max(min(s0, s1), 1e-30)
    shift = abs(m0 - m1) / max(min(s0, s1), 1e-30)
    if wide < SPREAD and shift < SHIFT:
        return None
    made = fitted(unit.site, held_out, calibrator=case.network.ranges.activations)
    after = case.damage({unit.name: made})
    before_db, after_db = case.db(unit), case.db(unit, made)
    sentence = (
        f"calibration data have mean {m0:.3g} and deviation {s0:.3g} here, held-out data {m1:.3g}"
        f" and {s1:.3g}; a range from these would raise SQNR from {before_db:.1f} to"
        f" {decibel(after_db)}"
    )
    cures = (
        Cure("held-out", "calibrate on some of the held-out examples", {"data": "held-out"}, after),
        Cure("zeroq", "calibrate on examples made from the model", {"synthetic": "zeroq"}),
        *wider(case, unit),
    )
    evidence = {"calibration": [m0, s0], "held_out": [m1, s1]}
    return Finding(
        unit.name, sentence, before_db, after_db, case.own_damage, after, cures, evidence
    )


def _moments(values: list[torch.Tensor]) -> tuple[float, float]:
    flat = torch.cat([v.detach().flatten().double() for v in values])
    return float(flat.mean()), float(flat.std())
