"""The weights of one channel, one cell each, and a single one of them in full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.views import strings
from workbench.views.numbers import fixed, signed

Record = Mapping[str, Any]

CLOSE = 1e-3  # of a step: nearer to the middle between two levels than this is a tie


def cells(record: Record, channel: int, chosen: int | None = None) -> dict[str, Any]:
    """The view-model.

    Args:
        record: of `workbench.analysis.weights.ChannelWeights`.
        channel: its number; chosen: number of the weight that is shown in full, or None.
    """
    start, count = record["start"], len(record["codes"])
    ways = [_way(record, at) for at in range(count)]
    inside = chosen is not None and start <= chosen < start + count
    against = sum(way in ("up", "down") for way in ways)
    return {
        "title": strings.CELLS_TITLE.format(channel=channel),
        "channel": channel,
        "start": start,
        "total": record["total"],
        "pages": _pages(record),
        "kernel": _kernel(record["shape"]),
        "codes": record["codes"],
        "errors": [round(error, 3) for error in record["errors"]],
        "ways": ways,
        "weight": chosen if inside else None,
        "detail": detail(record, chosen - start) if inside and chosen is not None else None,
        "text": strings.CELLS_TEXT.format(
            weights=strings.plural(record["total"], "weight"), against=against or "none"
        ),
    }


def detail(record: Record, at: int) -> dict[str, Any]:
    """One weight: facts in rows, and where it lies between its two nearest codes.

    Args:
        record: of the channel's weights; at: position in the record.
    """
    place, code, bounds = record["places"][at], record["codes"][at], record["bounds"]
    way = _way(record, at)
    low = min(max(int(place // 1), bounds[0]), bounds[1] - 1)
    step, error = record["steps"][at], record["errors"][at]
    number = record["start"] + at
    rows = [
        ("place", _place(record["shape"], number)),
        ("value", _short(record["values"][at])),
        (
            "code",
            strings.CELL_CODE.format(code=_whole(code), low=_whole(bounds[0]), high=bounds[1]),
        ),
        ("stands for", _short(record["restored"][at])),
        ("rounded", strings.CELL_WAYS[way].format(nearest=_whole(record["nearest"][at]))),
        ("error", f"{signed(error, 2)} steps of {_short(step)}"),
    ]
    return {
        "weight": number,
        "rows": [{"label": label, "text": text} for label, text in rows],
        "way": way,
        "line": {"low": low, "place": round(place, 4), "code": code},
        "spoken": "; ".join(f"{label} {text}" for label, text in rows),
    }


def _way(record: Record, at: int) -> str:
    """How a weight came to its code: "nearest", "up" or "down" against it, "clipped"."""
    place, code, nearest = record["places"][at], record["codes"][at], record["nearest"][at]
    low, high = record["bounds"]
    if code == nearest:
        return "clipped" if place > high + 0.5 or place < low - 0.5 else "nearest"
    if abs(abs(place - code) - 0.5) < CLOSE:
        return "nearest"
    return "up" if code > nearest else "down"


def _pages(record: Record) -> dict[str, int | None] | None:
    """A weight on the page before and on the next; None where there is but one page."""
    start, end, total = record["start"], record["start"] + len(record["codes"]), record["total"]
    if start == 0 and end == total:
        return None
    before = start - 1 if start else None
    return {"before": before, "after": end if end < total else None}


def _kernel(shape: list[int]) -> int:
    """Weights that belong to one input channel: those of a kernel."""
    size = 1
    for side in shape[1:]:
        size *= side
    return size


def _place(shape: list[int], number: int) -> str:
    index = []
    for side in reversed(shape):
        index.append(number % side)
        number //= side
    names = strings.CELL_AXES if len(shape) in (1, 3) else ("index",) * len(shape)
    parts = [f"{name} {at}" for name, at in zip(names, reversed(index), strict=False)]
    return ", ".join(parts)


def _short(value: float) -> str:
    text = f"{value:.4g}"
    return text.replace("-", "−")


def _whole(value: int) -> str:
    return fixed(float(value), 0)
