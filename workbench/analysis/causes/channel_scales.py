"""Output channels of very different size on one scale (Nagel et al. 2019, arXiv:1906.04721, 4.1).

Folded batch norms leave the filters of a depthwise convolution apart by a hundred; one step for
all of them rounds the small ones to nothing. Counterfactual: a scale for each channel.
"""

from __future__ import annotations

from workbench.analysis.causes.case import Case
from workbench.analysis.causes.changes import by_channel, decibel, transform, wider
from workbench.analysis.causes.finding import Cure, Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.channels import weight_axis
from workbench.analysis.units import Unit


@cause(
    "channel-scales",
    title="Scale imbalance between output channels",
    order=30,
    serves=("weight",),
    where="weights with one scale per tensor, above all depthwise ones",
    changes="a scale for each output channel",
)
def channel_scales(case: Case, unit: Unit) -> Finding | None:
    """One scale serves channels of very different size."""
    grid = unit.site.grid
    if not grid.per_tensor:
        return None
    axis = weight_axis(case.model, unit.site)
    made = case.refitted(unit, by_channel(grid, axis))
    after = case.damage({unit.name: made})
    reach = case.model.original(unit.name).detach().movedim(axis, 0).flatten(1).abs().amax(1)
    small = int((reach < float(reach.max()) / 4).sum())
    ratio = float(reach.max() / reach.median().clamp(min=1e-30))
    before_db, after_db = case.db(unit), case.db(unit, made)
    sentence = (
        f"{small} of {len(reach)} output channels reach less than a quarter of the largest, which"
        f" is {ratio:.1f} times the median; a scale per channel would raise SQNR from"
        f" {before_db:.1f} to {decibel(after_db)}"
    )
    channels = Cure(
        "per-channel",
        "a scale for each output channel, in all weights",
        {"weights": {"granularity": "channel"}},
        after,
    )
    equal = transform("equalize", "equal ranges across neighbouring layers, at no cost")
    cures = (channels, equal, *wider(case, unit))
    evidence = {"channels": len(reach), "small": small, "largest_over_median": ratio}
    return Finding(
        unit.name, sentence, before_db, after_db, case.own_damage, after, cures, evidence
    )
