"""Exact numbers for a grid that was dragged: computed on the weights themselves, in milliseconds.

The browser calls this directly, past the queue, so whatever comes in is checked like a stranger's.
"""

from __future__ import annotations

import math
from typing import Any

from workbench.foundation.errors import WorkbenchError
from workbench.ui.gradio.pictures import received
from workbench.ui.gradio.workspace import Desk
from workbench.views.exact import measure


def exact_range(desk: Desk, payload: object) -> dict[str, float] | None:
    """SQNR and share of clipped weights on the grid in `payload`; None where it cannot be told.

    Args:
        desk: the server's store.
        payload: JSON text with `key`, `site`, `channel`, `scale` and `zero_point`.
    """
    message = _message(payload)
    if message is None:
        return None
    try:
        run = desk.workspace(message.get("key")).shown()
        if run is None or str(message.get("site")) not in (model := desk.model(run)).sites:
            return None
    except WorkbenchError:
        return None
    site = model.sites[str(message["site"])]
    if site.kind != "weight":
        return None
    weight = model.weight(site.name).detach()
    frozen = model.quantizer(site.name).frozen(weight)
    return measure(weight, frozen, message["channel"], message["scale"], message["zero_point"])


def _message(payload: object) -> dict[str, Any] | None:
    """The checked message, or None."""
    found = received(payload)
    if found is None:
        return None
    try:
        channel = found.get("channel")
        scale, zero = float(found["scale"]), int(found["zero_point"])
        checked = {**found, "channel": None if channel is None else int(channel)}
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    if not (math.isfinite(scale) and 1e-20 < scale < 1e20 and abs(zero) < 2**17):
        return None
    return {**checked, "scale": scale, "zero_point": zero}
