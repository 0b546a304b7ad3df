"""Pictures as standing SVG, for viewers that run no JavaScript: panels of a lesson, and the graph.

Only what a picture needs to be understood: lines, bars and levels with the ends of their axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from workbench.views.lesson import short

WIDE, TALL = 420.0, 220.0
_EDGE = {"left": 46.0, "right": 10.0, "top": 26.0, "bottom": 30.0}
_TONES = {
    "float": "#4a7fe0", "quant": "#d9660a", "good": "#1f7a37", "bad": "#b3261e", "dim": "#8a93a0",
    "ink": "#444c58", "run-0": "#0072b2", "run-1": "#d55e00", "run-2": "#009e73",
    "run-3": "#cc79a7", "run-4": "#8c6d00", "run-5": "#56b4e9", "run-6": "#7a5195",
    "run-7": "#5d6878",
}  # fmt: skip
Point = tuple[float, float]
Record = Mapping[str, Any]


class _Scale:
    """From values of an axis to places on the paper."""

    def __init__(
        self, axis: Record, values: Iterable[float | None], start: float, end: float
    ) -> None:
        self.log = bool(axis.get("log"))
        found = [v for v in values if v is not None and (v > 0 or not self.log)] or [0.1, 1.0]
        low, high = axis.get("low"), axis.get("high")
        self.low = float(min(found) if low is None else low)
        self.high = float(max(found) if high is None else high)
        if self.high <= self.low:
            self.high = self.low + (abs(self.low) or 1.0)
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        value = min(self.high, max(self.low, value))
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def panel_svg(panel: Record) -> str:
    """A panel as an `<svg>`, a table as `<table>`, nothing for one that is still veiled."""
    drawn = {"lines": _lines, "bars": _bars, "levels": _levels}.get(panel["kind"])
    if drawn is not None:
        return _sheet(panel["title"], drawn(panel))
    return {"table": _table, "cells": _cells}.get(panel["kind"], lambda _: "")(panel)


def graph_svg(name: str, drawing: Record, table: Record) -> str:
    """The drawing of a network as an `<svg>`, its layers the darker the worse they are.

    Args:
        name: of the model.
        drawing: of `views.drawing`; table: of `views.layers`, for what the layers lose.
    """
    rows = {row["name"]: row["cells"].get(table["measure"]) for row in table["rows"] or ()}
    wires = [_path(list(zip(e[::2], e[1::2], strict=True)), "#8a93a0") for e in drawing["edges"]]
    blocks = [_box(each, "none", each["label"], 13) for each in drawing["blocks"]]
    boxes = []
    for node in drawing["nodes"]:
        cell = rows.get(node["name"])
        fill = "#fff" if cell is None else f"rgb(217 102 10 / {0.08 + 0.4 * cell['heat']:.2f})"
        text = f"{node['label']} {cell['text']}" if cell else node["label"]
        boxes.append(_box(node, fill, text, node["h"] / 2 + 4))
    wide, tall = drawing["width"], drawing["height"]
    return (
        f'<svg width="{wide:g}" viewBox="0 0 {wide:g} {tall:g}" role="img"'
        ' xmlns="http://www.w3.org/2000/svg" style="background:#fff;max-width:100%;height:auto"'
        f' font-family="sans-serif" font-size="10" fill="#444c58"><title>{escape(name)}</title>'
        f"{''.join(blocks)}{''.join(wires)}{''.join(boxes)}</svg>"
    )


def _box(part: Record, fill: str, words: str, down: float) -> str:
    return (
        f'<rect x="{part["x"]:g}" y="{part["y"]:g}" width="{part["w"]:g}" height="{part["h"]:g}"'
        f' rx="5" fill="{fill}" stroke="#c3cad4"/>' + _text(part["x"] + 7, part["y"] + down, words)
    )


def _lines(panel: Record) -> list[str]:
    lines = panel["series"]
    x = _across(panel["x"], [v for one in lines for v in one["x"]])
    y = _up(panel["y"], [v for one in lines for v in one["y"]])
    return [
        *_axes(panel, x, y),
        *(part for one in lines for part in _series(one, x, y)),
        *_marks(panel["marks"], x, y),
    ]


def _series(one: Record, x: _Scale, y: _Scale) -> list[str]:
    there = [
        (x(a), y(b))
        for a, b in zip(one["x"], one["y"], strict=True)
        if a is not None and b is not None and (b > 0 or not y.log)
    ]
    tone = _TONES.get(one["tone"], "#444c58")
    if one["style"] == "dots":
        return [f'<circle cx="{a}" cy="{b}" r="2.5" fill="{tone}"/>' for a, b in there]
    if one["style"] == "step":
        corners = [[(b[0], a[1]), b] for a, b in pairwise(there)]
        there = [*there[:1], *(point for pair in corners for point in pair)]
    return [_path(there, tone)]


def _bars(panel: Record) -> list[str]:
    count = len(panel["names"]) or len(panel["edges"]) - 1
    edges = list(panel["edges"]) or [float(k) for k in range(count + 1)]
    heights = [v for _, _, values in panel["groups"] for v in values]
    floor = [] if panel["y"].get("log") else [0.0]
    x, y = _across(panel["x"], edges), _up(panel["y"], [*heights, *floor])
    base, parts = y(floor[0] if floor else y.low), []
    for place, (_, tone, values) in enumerate(panel["groups"]):
        for k, value in enumerate(values):
            if value is None or (y.log and value <= 0):
                continue
            wide = (x(edges[k + 1]) - x(edges[k])) / (len(panel["groups"]) if panel["names"] else 1)
            left = x(edges[k]) + (place * wide if panel["names"] else 0)
            top, tall = min(y(value), base), abs(base - y(value))
            frame = ' stroke="#1d2430" stroke-width="2"' if k in panel["chosen"] else ""
            parts.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(0.5, 0.9 * wide):.1f}"'
                f' height="{tall:.1f}" fill="{_TONES.get(tone, "#444c58")}" opacity=".75"{frame}/>'
            )
    ends = panel["names"][:1] + panel["names"][-1:] if panel["names"] else ()
    return [*_axes(panel, x, y, ends), *parts, *_marks(panel["marks"], x, y)]


def _levels(panel: Record) -> list[str]:
    places = [each["at"] for each in (*panel["levels"], *panel["dots"])]
    x, middle = _across(panel["axis"], places), 140.0
    ticks = [
        f'<line x1="{x(level["at"])}" x2="{x(level["at"])}" y1="{middle - 9}" y2="{middle + 9}"'
        f' stroke="{_TONES["quant"]}" stroke-width="2" opacity="{1 if level["used"] else 0.3}"/>'
        for level in panel["levels"]
    ]
    dots = []
    for dot in panel["dots"]:
        tone = _TONES.get(dot["tone"], "#444c58")
        if dot["to"] is not None:
            dots.append(_path([(x(dot["at"]), middle - 45), (x(dot["to"]), middle - 10)], tone))
        dots.append(f'<circle cx="{x(dot["at"])}" cy="{middle - 48}" r="5" fill="{tone}"/>')
    line = _path([(x.start, middle), (x.end, middle)], "#8a93a0")
    ends = [_text(x.start, 178, short(x.low)), _text(x.end, 178, short(x.high), "end")]
    return [line, *ticks, *dots, *ends]


def _marks(marks: Sequence[Record], x: _Scale, y: _Scale) -> list[str]:
    parts = []
    for mark in marks:
        tone = _TONES.get(mark["tone"], "#444c58")
        if mark["axis"] == "y":
            ends = [(x.start, y(mark["at"])), (x.end, y(mark["at"]))]
        else:
            ends = [(x(mark["at"]), y.start), (x(mark["at"]), y.end)]
        parts += [_path(ends, tone, "3 3"), _text(ends[1][0] + 3, ends[1][1] + 9, mark["label"])]
    return parts


def _axes(panel: Record, x: _Scale, y: _Scale, ends: Sequence[str] = ()) -> list[str]:
    left, right = ends if len(ends) == 2 else (short(x.low), short(x.high))
    base = y.start
    frame = _path([(x.start, y.end), (x.start, base), (x.end, base)], "#8a93a0")
    return [
        frame,
        _text(x.start, base + 12, left),
        _text(x.end, base + 12, right, "end"),
        _text((x.start + x.end) / 2, base + 25, _words(panel["x"]), "middle"),
        _text(x.start - 4, base, short(y.low), "end"),
        _text(x.start - 4, y.end + 8, short(y.high), "end"),
        _text(2, _EDGE["top"] - 4, _words(panel["y"])),
    ]


def _across(axis: Record, values: Iterable[float | None]) -> _Scale:
    return _Scale(axis, values, _EDGE["left"], WIDE - _EDGE["right"])


def _up(axis: Record, values: Iterable[float | None]) -> _Scale:
    return _Scale(axis, values, TALL - _EDGE["bottom"], _EDGE["top"])


def _words(axis: Record) -> str:
    return f"{axis['label']}, {axis['unit']}" if axis.get("unit") else str(axis["label"])


def _path(points: Sequence[Point], tone: str, dashes: str = "") -> str:
    line = " ".join(f"{x:g},{y:g}" for x, y in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{line}" fill="none" stroke="{tone}" stroke-width="1.5"{dashed}/>'


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'


def _sheet(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg width="{WIDE:g}" height="{TALL:g}" viewBox="0 0 {WIDE:g} {TALL:g}" role="img"'
        ' xmlns="http://www.w3.org/2000/svg" style="background:#fff"'
        ' font-family="sans-serif" font-size="10" fill="#444c58">'
        f'<text x="2" y="11" font-weight="600">{escape(title)}</text>{"".join(parts)}</svg>'
    )


def _table(panel: Record) -> str:
    heads = "".join(f"<th>{escape(name)}</th>" for name in panel["columns"])
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>"
        for row in panel["rows"]
    )
    return f"<table><caption>{escape(panel['title'])}</caption><tr>{heads}</tr>{rows}</table>"


def _cells(panel: Record) -> str:
    rows = [["" if v is None else short(v) for v in row] for row in panel["values"][:16]]
    return _table({**panel, "columns": panel["columns"], "rows": panel["texts"] or rows})
