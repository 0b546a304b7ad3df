"""Histograms with a quantization grid over them, ready to be dragged in the browser.

Bins keep the whole range of the values; `view` is the part that is drawn, chosen so that a few
outliers do not squeeze everything else into one column. What lies outside is counted beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.maths.grid import Grid
from workbench.views import strings
from workbench.views.numbers import fixed, rounded

Record = Mapping[str, Any]
Floats = NDArray[np.float64]

BINS = 2048
TAIL = 5e-4  # share of the values that may stay outside the picture on each side
WIDE = 1.6  # draw everything if that is at most this much wider than the robust range
FEW = 400  # with fewer values than this, wider bins are drawn
MARGIN = 0.06


def view(record: Record, *, title: str, site: str, **more: Any) -> dict[str, Any]:
    """The view-model of one histogram.

    Args:
        record: as `workbench.analysis.distributions` makes it: `start`, `width`, `counts`, `low`,
            `high`, `total`, and the grid: `grid`, `scale`, `zero_point`; perhaps `energy`, `unit`,
            `log`, `levels`.
        title: heading of the picture.
        site: name of the quantized tensor.
        more: `channel` and `channels` where one of several may be chosen.
    """
    counts = np.asarray(record.get("counts") or [], dtype=np.float64)
    if not counts.size or not record.get("width"):
        return {"title": title, "message": strings.NO_HISTOGRAM}
    start, width = float(record["start"]), float(record["width"])
    ends = _ends(record)
    window = drawn_range(counts, start, width, (float(record["low"]), float(record["high"])), ends)
    first, last = _trim(counts)
    model = {
        "title": title,
        "site": site,
        "unit": record.get("unit", "value"),
        "low": start + first * width,
        "high": start + last * width,
        "counts": [int(count) for count in counts[first:last]],
        "view": list(window),
        "outside": _outside(counts, start, width, window, record),
        "fine": 64 if record["total"] < FEW else 400,
        "log": bool(more.pop("log", record.get("log", False))),
        "levels": record.get("levels"),
        "detail": _detail(record),
        "spoken": _spoken(title, record),
        "grid": record.get("grid"),
        "scale": record.get("scale"),
        "zero": record.get("zero_point"),
        "draggable": bool(record.get("draggable", True)),
        "note": strings.STAYS_FLOAT if record.get("grid") is None else "",
        **more,
    }
    if record.get("energy"):
        model["energy"] = rounded(np.asarray(record["energy"], dtype=np.float64)[first:last], 5)
    return model


def grid_record(grid: Grid) -> dict[str, Any]:
    """What the browser needs of a grid."""
    return {
        "bits": grid.bits,
        "signed": grid.signed,
        "symmetric": grid.symmetric,
        "qmin": grid.qmin,
        "qmax": grid.qmax,
    }


def drawn_range(
    counts: Floats,
    start: float,
    width: float,
    extremes: tuple[float, float],
    ends: tuple[float, float] | None,
) -> tuple[float, float]:
    """The part of the axis to draw: most of the values, and the ends of the grid."""
    share = np.cumsum(counts) / max(1.0, float(counts.sum()))
    low = start + width * float(np.searchsorted(share, TAIL))
    high = start + width * float(np.searchsorted(share, 1 - TAIL) + 1)
    if extremes[1] - extremes[0] <= WIDE * (high - low):
        low, high = extremes
    if ends is not None:
        low, high = min(low, ends[0]), max(high, ends[1])
    margin = MARGIN * max(high - low, 1e-12)
    return low - margin, high + margin


def _ends(record: Record) -> tuple[float, float] | None:
    grid = record.get("grid")
    if grid is None or record.get("scale") is None:
        return None
    scale, zero = float(record["scale"]), float(record["zero_point"])
    return (grid["qmin"] - zero) * scale, (grid["qmax"] - zero) * scale


def _trim(counts: Floats) -> tuple[int, int]:
    """Indices of the first bin in use and of the one after the last."""
    used = np.flatnonzero(counts)
    return (int(used[0]), int(used[-1]) + 1) if used.size else (0, len(counts))


def _outside(
    counts: Floats, start: float, width: float, window: tuple[float, float], record: Record
) -> list[dict[str, Any]]:
    centres = start + width * (np.arange(len(counts)) + 0.5)
    sides: Sequence[tuple[NDArray[np.bool_], float]] = (
        (centres < window[0], float(record["low"])),
        (centres > window[1], float(record["high"])),
    )
    return [{"count": int(counts[mask].sum()), "extreme": extreme} for mask, extreme in sides]


def _detail(record: Record) -> str:
    grid = record.get("grid")
    if grid is None:
        return "float"
    kind = "int" if grid["signed"] else "uint"
    unit = ", steps of each channel" if record.get("unit") == "steps" else ""
    return f"{kind}{grid['bits']}{unit}"


def _spoken(title: str, record: Record) -> str:
    low, high = fixed(float(record["low"]), 3), fixed(float(record["high"]), 3)
    return (
        f"{title}: histogram of {record['total']:,} values from {low} to {high}, {_detail(record)}"
    )
