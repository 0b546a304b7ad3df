"""Softmax, GELU and LayerNorm: shapes that equal steps serve badly.

A softmax is nearly all small values and a few near one, a GELU a short negative and a long positive
side (Yuan et al. 2022, arXiv:2111.12293); channels of a LayerNorm differ in size (Li et al. 2023,
arXiv:2212.08254). Counterfactual: two ladders of levels, or a scale for each channel.
"""

from __future__ import annotations

from workbench.analysis.causes.case import Case
from workbench.analysis.causes.changes import by_channel, decibel, wider
from workbench.analysis.causes.finding import Cure, Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.units import Unit
from workbench.methods.placing import GELU, SOFTMAX, behind
from workbench.quantizers.base import Quantizer
from workbench.quantizers.log_sqrt2 import LogSqrt2
from workbench.quantizers.own_levels import MOST_BITS, OwnLevels
from workbench.quantizers.twin import Twin

NORMS = frozenset({"LayerNormalization", "SimplifiedLayerNormalization"})


@cause(
    "shape",
    title="Softmax, GELU or LayerNorm on equal steps",
    order=45,
    serves=("activation",),
    where="behind these operators",
    changes="levels that fit the shape",
)
def shape(case: Case, unit: Unit) -> Finding | None:
    """The distribution behind an operator does not suit equal steps."""
    found = _suited(case, unit)
    if found is None:
        return None
    word, made, method = found
    after = case.damage({unit.name: made})
    before_db, after_db = case.db(unit), case.db(unit, made)
    kind = "a scale for each channel" if word == "LayerNorm" else f"{made.form} levels"
    sentence = (
        f"values behind a {word} on {2**unit.site.grid.bits} equal steps; {kind} would raise SQNR"
        f" from {before_db:.1f} to {decibel(after_db)}"
    )
    words = f"'{method}' first: levels that fit, at the same bits"
    cures = (Cure(method, words, {"prepend": method}), *wider(case, unit))
    return Finding(
        unit.name, sentence, before_db, after_db, case.own_damage, after, cures,
        {"operator": word},
    )  # fmt: skip


def _suited(case: Case, unit: Unit) -> tuple[str, Quantizer, str] | None:
    """The operator behind which the site lies, a quantizer that suits it, a method that puts it."""
    site = unit.site
    if site.grid.bits > MOST_BITS or not site.grid.uniform or not site.grid.per_tensor:
        return None
    names = {"softmax": SOFTMAX, "GELU": GELU, "LayerNorm": NORMS}
    for word, operators in names.items():
        if all(other.name != site.name for other in behind(case.model, operators)):
            continue
        if word == "LayerNorm":
            made = case.refitted(unit, by_channel(site.grid, case.channels(unit)))
            return word, made, "repq_vit"
        kinds: tuple[type[OwnLevels], ...] = (Twin, LogSqrt2) if word == "softmax" else (Twin,)
        made = max((_with(case, unit, k) for k in kinds), key=lambda q: case.db(unit, q))
        return word, made, "repq_vit" if isinstance(made, LogSqrt2) else "ptq4vit"
    return None


def _with(case: Case, unit: Unit, kind: type[OwnLevels]) -> OwnLevels:
    made = kind(unit.site.grid, unit.site.shape)
    seen = case.network.calibration_values(unit.site.tensor)
    low, high = min(v.min() for v in seen), max(v.max() for v in seen)
    made.set_range(low, high)
    return made
