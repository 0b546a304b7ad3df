"""Biases on the accumulator's step: too large for 32 bits, or rounded to nothing.

An integer bias has the scale s_input * s_weight (Jacob et al. 2018, eq. 11). Where the weights of
a channel are so small that its bias would need more than 2^30 steps, their scale was raised, and
they are rounded coarsely; where both scales are coarse, a small bias is lost. Counterfactual: the
bias in float, and weights on the scale that they alone want.
"""

from __future__ import annotations

from workbench.analysis.causes.case import Case, Swaps
from workbench.analysis.causes.changes import decibel, left_float, override, transform, wider
from workbench.analysis.causes.finding import Cure, Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.units import Unit
from workbench.graph.sites import Site
from workbench.quantizers.bias import MOST_STEPS, Bias

#: so near to the most steps, a bias has raised its weight's scale
FULL = 0.99
#: a bias of less than a step has lost most of itself
LOST = 1.0


@cause(
    "integer-bias",
    title="Bias out of the accumulator's range",
    order=22,
    serves=("weight",),
    where="channels with tiny weights and a large bias, and few bits with small biases",
    changes="the bias in float, the weights on their own scale",
)
def integer_bias(case: Case, unit: Unit) -> Finding | None:
    """A bias does not fit the scale that it has to have."""
    site = _bias(case, unit)
    if site is None:
        return None
    bias = case.model.original(site.name).detach().abs()
    steps = bias / case.model.quantizer(site.name).affine()[0]
    full = int((steps >= FULL * MOST_STEPS).sum())
    lost = int(((steps < LOST) & (bias > 0)).sum())
    if not full + lost:
        return None
    free: Swaps = {site.name: None} | ({unit.name: case.refitted(unit, room=False)} if full else {})
    after = case.damage(free)
    before_db, after_db = case.sums(unit, case.setting).db, case.sums(unit, case.setting, free).db
    what = f"{full} of {bias.numel()} biases fill 32 bits and make their weights coarse"
    if not full:
        what = f"{lost} of {bias.numel()} biases are smaller than the accumulator's step"
    sentence = (
        f"{what}; a float bias would raise the layer's SQNR from {before_db:.1f} to"
        f" {decibel(after_db)}"
    )
    return Finding(
        unit.name, sentence, before_db, after_db, case.own_damage, after,
        _cures(case, unit, free, full > 0), {"full": full, "lost": lost},
    )  # fmt: skip


def _bias(case: Case, unit: Unit) -> Site | None:
    """The layer's bias, where it is rounded to the accumulator's step."""
    own = (s for s in case.model.of_kind("bias") if s.layer == unit.site.layer)
    found = next(own, None)
    if found is None or found.name not in case.setting.sites:
        return None
    return found if isinstance(case.model.quantizer(found.name), Bias) else None


def _cures(case: Case, unit: Unit, free: Swaps, full: bool) -> tuple[Cure, ...]:
    """A layer that reads float data has a float bias."""
    data = [u for u in case.units if u.site.kind == "activation"]
    off: Swaps = {**free, **{u.name: None for u in data}}
    words = "its data stay float, and so does the bias"
    freed = [
        Cure("float-data", words, override(u, 0), case.damage(off) if len(data) == 1 else None)
        for u in data
    ]
    absorbed = transform("absorb-bias", "large biases move into the next layer, at no cost")
    return (*freed, absorbed, left_float(case, unit)) if full else (*wider(case, unit), *freed)
