"""A few channels of a layer's input that set the step for all (Xiao et al. 2023, arXiv:2211.10438).

Scales of an activation are per tensor, and those of a weight run over its inputs. Counterfactual: a
scale for each input channel, as if the factors had been moved elsewhere.
"""

from __future__ import annotations

import torch

from workbench.analysis.causes.case import Case
from workbench.analysis.causes.changes import by_channel, decibel, transform, wider
from workbench.analysis.causes.finding import Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.channels import OUTLIER, carriers
from workbench.analysis.units import Unit
from workbench.quantizers.base import Quantizer


@cause(
    "outlier-channel",
    title="Outlier channels of the input",
    order=35,
    serves=("weight", "activation"),
    where="activations with few large channels, and weights behind them",
    changes="a scale for each input channel",
)
def outlier_channel(case: Case, unit: Unit) -> Finding | None:
    """Few channels set the step for all."""
    axis = _axis(case, unit)
    values = case.values(unit)
    if axis is None or values[0].ndim < 2 or values[0].shape[axis] < 2:
        return None
    reach = torch.stack([_rows(v, axis).abs().amax(1) for v in values]).amax(0)
    loud = int((reach > OUTLIER * reach.median()).sum())
    quiet = int((reach < reach.median() / OUTLIER).sum())
    if not loud + quiet:
        return None
    made = case.refitted(unit, by_channel(unit.site.grid, axis))
    after = case.damage({unit.name: made})
    carried = carriers(_shares(case, unit, axis))
    before_db, after_db = case.db(unit), case.db(unit, made)
    sentence = (
        f"{loud} of {len(reach)} input channels reach more than {OUTLIER:g} times the median and"
        f" {quiet} less than its {OUTLIER:g}th part; {len(carried)} channels hold 80 % of the"
        f" error; a scale for each would raise SQNR from {before_db:.1f} to {decibel(after_db)}"
    )
    cures = (
        transform("equalize", "equal ranges across neighbouring layers, at no cost"),
        transform("smooth", "large channels of activations move into weights"),
        *wider(case, unit),
    )
    evidence = {"channels": len(reach), "loud": loud, "quiet": quiet, "carriers": carried}
    return Finding(
        unit.name, sentence, before_db, after_db, case.own_damage, after, cures, evidence
    )


def _axis(case: Case, unit: Unit) -> int | None:
    """Along which the site's channels are summed by its reader; None for depthwise weights."""
    if unit.site.kind == "activation":
        return case.channels(unit)
    weights = unit.layer.weights if unit.layer is not None else ()
    return next((w.input_axis for w in weights if w.name == unit.name), None)


@torch.no_grad()
def _shares(case: Case, unit: Unit, axis: int) -> list[float]:
    """Of the error, channel by channel."""
    quantizer: Quantizer = case.model.quantizer(unit.name)
    noise = sum(
        _rows(v - quantizer.fake_quantize(v), axis).double().square().sum(1)
        for v in case.values(unit)
    )
    assert isinstance(noise, torch.Tensor)
    return (noise / noise.sum().clamp(min=1e-30)).tolist()


def _rows(x: torch.Tensor, axis: int) -> torch.Tensor:
    return x.movedim(axis, 0).flatten(1)
