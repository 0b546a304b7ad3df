"""Charts of a few series or points: lines over names, and points of a cost against a gain.

One ES module draws both. The place of a series or point in its list decides its colour, the same
in all charts of a view.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from workbench.views.numbers import rounded

Chart = dict[str, Any]

NEAR = 0.02  # of a value: less is not drawn as a large difference


def lines(
    title: str,
    unit: str,
    names: Sequence[str],
    series: Sequence[tuple[str, Sequence[float | None]]],
) -> Chart:
    """A line for each series over the same names.

    Args:
        title, unit: what is drawn; names: of the places, first to last.
        series: (label, a value for each name or None).
    """
    drawn = [{"label": label, "values": _finite(values)} for label, values in series]
    low, high = _ends([v for one in drawn for v in one["values"] if v is not None])
    head = {"kind": "lines", "title": title, "unit": unit, "names": list(names)}
    return {**head, "series": drawn, "low": low, "high": high}


def points(
    title: str,
    x: tuple[str, str],
    y: tuple[str, str],
    places: Sequence[tuple[str, float | None, float | None]],
    *,
    lower_is_better: bool = False,
) -> Chart:
    """Points with names; those that no other beats in both are joined by a line.

    Args:
        title: of the chart; x, y: (label, unit) of the axes; less of x is better.
        places: (name, x, y); None for what is not known, which leaves the point out.
        lower_is_better: less of y is, too.
    """
    drawn = [
        {"label": name, "series": index, "x": x, "y": y}
        for index, (name, *pair) in enumerate(places)
        for x, y in [_finite(pair)]
        if x is not None and y is not None
    ]
    found = [(point["x"], point["y"]) for point in drawn]
    axes = zip(("x", "y"), (x, y), zip(*found, strict=True) if found else ((), ()), strict=True)
    return {
        "kind": "points",
        "title": title,
        **{k: {"label": w[0], "unit": w[1], "ends": _ends(v, NEAR)} for k, w, v in axes},
        "points": drawn,
        "front": front(found, lower_is_better=lower_is_better),
    }


def front(places: Sequence[tuple[float, float]], *, lower_is_better: bool) -> list[int]:
    """Indices of the points that no other beats, by x; of equal ones the first.

    Example:
        >>> front([(1, 90), (2, 95), (3, 94)], lower_is_better=False)
        [0, 1]
    """
    sign = 1 if lower_is_better else -1
    found: list[int] = []
    best = math.inf
    for index in sorted(range(len(places)), key=lambda i: (places[i][0], sign * places[i][1])):
        if sign * places[index][1] < best:
            best = sign * places[index][1]
            found.append(index)
    return found


def _finite(values: Sequence[float | None]) -> list[float | None]:
    """With six digits; None for what is no number."""
    known = (v if v is not None and math.isfinite(v) else None for v in values)
    return [None if v is None else rounded([v])[0] for v in known]


def _ends(values: Sequence[float], near: float = 0.0) -> tuple[float, float]:
    """The least and the largest with some air; values that differ by a share `near` stay near."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = max(high - low, near * abs(high), 1e-9)
    middle = (low + high) / 2
    return middle - 0.58 * span, middle + 0.58 * span
