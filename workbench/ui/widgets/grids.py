"""A weight's histogram whose grid can be dragged, for widgets that keep where it was dragged to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from workbench.analysis.distributions import channel_record, weight_record
from workbench.graph.quantized import uniform
from workbench.graph.sites import Site
from workbench.graph.targets import WeightGrid, target
from workbench.quantizers.base import Frozen
from workbench.session.session import Session
from workbench.views import histogram, strings
from workbench.views.exact import measure


def weight_sites(session: Session, granularity: str = "channel") -> dict[str, Site]:
    """The weights of a session's model by name, on a uniform grid."""
    request = WeightGrid.parse({"granularity": granularity}, "weights")
    found = target("weight-only").sites(session.graph, request, None, edges=None)
    return {site.name: site for site in found if site.kind == "weight"}


def fitted(weight: Tensor, site: Site, bits: int, calibrator: str) -> Frozen:
    """The scales that a calibrator finds."""
    site = replace(site, grid=replace(site.grid, bits=bits))
    quantizer = uniform(site)
    quantizer.fit(weight, calibrator)
    return quantizer.frozen()


def channels(frozen: Frozen) -> int:
    """How many channels have a scale of their own; 0 where they share one."""
    grid = frozen.grid
    return len(frozen.scale.flatten()) if grid.granularity.kind == "channel" else 0


def step(frozen: Frozen, channel: int | None) -> float:
    """The step of the tensor or of a channel; 1 where each of all channels has its own."""
    if channel is not None:
        return float(frozen.scale.flatten()[channel])
    return float(frozen.scale) if frozen.grid.per_tensor else 1.0


def _zero(frozen: Frozen, channel: int | None) -> int:
    if channel is not None:
        return int(frozen.zero_point.flatten()[channel])
    return int(frozen.zero_point) if frozen.grid.per_tensor else 0


def exact(weight: Tensor, frozen: Frozen, channel: int | None, clip: float) -> dict[str, float]:
    """`sqnr_db`, `gain_db` against the scales found and the share `clipped`, of `clip` × steps."""
    scale = clip * step(frozen, channel)
    found = measure(weight, frozen, channel, scale, _zero(frozen, channel))
    assert found is not None  # the channel is one of those that there are
    return found


def view(
    site: str, weight: Tensor, frozen: Frozen, channel: int | None, clip: float, **more: Any
) -> dict[str, Any]:
    """The view-model of `views.histogram`, with the grid at `clip` × the steps that were found."""
    if channel is None:
        record = weight_record(weight, frozen)
    else:
        record = channel_record(weight, frozen, channel)
    dragged = None
    if clip != 1.0:
        place = {"scale": clip * step(frozen, channel), "zero": _zero(frozen, channel)}
        dragged = {**place, "exact": exact(weight, frozen, channel, clip)}
    return histogram.view(
        {**record, "draggable": bool(record["grid"]["symmetric"])},
        title=strings.WEIGHTS_TITLE,
        site=site,
        channel=channel,
        channels=channels(frozen),
        dragged=dragged,
        **more,
    )
