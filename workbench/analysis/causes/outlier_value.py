"""One huge value that stretches the range for all others (Dettmers et al. 2022, arXiv:2208.07339).

Counterfactual: the few values beyond four times the 99.9th percentile are kept apart in float, and
the range covers the rest. The rest's own SQNR is told, as the outlier drowns every other signal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.analysis.causes.case import Case, fitted
from workbench.analysis.causes.changes import decibel, option, wider
from workbench.analysis.causes.finding import Cure, Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.channels import OUTLIER
from workbench.analysis.units import Unit
from workbench.quantizers.base import Quantizer
from workbench.quantizers.uniform import Uniform

QUANTILE = 0.999
TIMES = 4.0
#: more values than torch sorts at once are thinned out
MOST_SORTED = 2**20


class Apart(Uniform):
    """Values beyond `most` pass untouched."""

    most = torch.inf

    def fake_quantize(self, x: Tensor) -> Tensor:
        return torch.where(x.abs() > self.most, x, super().fake_quantize(x))


@cause(
    "outlier-value",
    title="One outlier value",
    order=20,
    serves=("weight", "activation"),
    where="activations of transformers, sums with a constant, single weights",
    changes="the outliers kept apart, and the range of the rest",
)
def outlier_value(case: Case, unit: Unit) -> Finding | None:
    """Few single values stretch the range."""
    if not (unit.site.grid.per_tensor and unit.site.grid.uniform):
        return None
    values = case.values(unit)
    most = TIMES * _quantile(values)
    count = sum(int((v.abs() > most).sum()) for v in values)
    if not count or most <= 0:
        return None
    if _loud_without(case, unit, values, most):
        return None  # a whole channel is large, not single values
    made = _apart(case, unit, most)
    after = case.damage({unit.name: made})
    before_db, after_db = case.db(unit, most=most), case.db(unit, made, most)
    total = sum(v.numel() for v in values)
    largest = max(float(v.abs().max()) for v in values)
    sentence = (
        f"{count:,} of {total:,} values lie beyond {most:.3g}, up to {largest:.3g}, and stretch the"
        f" range; without them the others would rise from {before_db:.1f} to {decibel(after_db)}"
    )
    evidence = {"count": count, "total": total, "limit": most, "largest": largest}
    cures = (_clipped(case, unit, most), *wider(case, unit))
    return Finding(
        unit.name, sentence, before_db, after_db, case.own_damage, after,
        tuple(c for c in cures if c is not None), evidence,
    )  # fmt: skip


def _loud_without(case: Case, unit: Unit, values: list[Tensor], most: float) -> bool:
    """A channel of an activation stands out even without its largest values."""
    if unit.site.kind == "weight" or values[0].ndim < 2:
        return False
    axis = case.channels(unit)
    rest = [torch.where(v.abs() > most, 0.0, v).abs().movedim(axis, 0).flatten(1) for v in values]
    reach = torch.stack([rows.amax(1) for rows in rest]).amax(0)
    return float(reach.max()) > OUTLIER * float(reach.median())


def _quantile(values: list[Tensor]) -> float:
    """The value that 99.9 % do not exceed in magnitude."""
    flat = torch.cat([v.detach().flatten() for v in values]).abs()
    return float(flat[:: max(1, len(flat) // MOST_SORTED)].float().quantile(QUANTILE))


def _apart(case: Case, unit: Unit, most: float) -> Quantizer:
    """The site's grid over what is left."""
    made = Apart(unit.site.grid, unit.site.shape)
    made.most = most
    weight = unit.site.kind == "weight"
    seen = case.values(unit) if weight else case.network.calibration_values(unit.site.tensor)
    kept = torch.cat([v[v.abs() <= most].flatten() for v in seen])
    calibrator = case.network.ranges.activations
    made.take(fitted(unit.site, [kept], calibrator=calibrator))
    return made


def _clipped(case: Case, unit: Unit, most: float) -> Cure | None:
    """The percentile's range, where it leaves the outliers out."""
    if unit.site.kind == "weight":
        return None
    seen = case.network.calibration_values(unit.site.tensor)
    made = fitted(unit.site, seen, calibrator="percentile")
    if float(made.reach().max()) > most:
        return None
    return option("calibrator", "percentile", case.damage({unit.name: made}))
