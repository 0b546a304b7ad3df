"""What parts of a view are made of: sentences, choices, charts, tables with bars, actions.

A part is `{"sentence", "tone", "notes", "choices", "charts", "tables", "actions", "progress",
"message"}`; one ES module draws all of them. Names in tables are text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.views import strings

Record = Mapping[str, Any]
Part = dict[str, Any]


def part(
    sentence: str = "",
    *,
    tone: str = "plain",
    notes: Sequence[str] = (),
    choices: Sequence[Record] = (),
    charts: Sequence[Record] = (),
    tables: Sequence[Record] = (),
    actions: Sequence[Record] = (),
    message: str = "",
) -> Part:
    """A part of the view.

    Args:
        sentence: what was found; tone: good, warn, bad or plain.
        notes: more, a line each; choices, tables, actions: from `choice`, `table` and `action`.
        charts: from `views.charts`.
        message: shown in place of tables where there are none.
    """
    return {
        "sentence": sentence,
        "tone": tone,
        "notes": list(notes),
        "choices": list(choices),
        "charts": list(charts),
        "tables": list(tables),
        "actions": list(actions),
        "progress": None,
        "message": message,
    }


def with_progress(view: Record, state: str, step: Record, problem: str) -> Part:
    """`view` with how far its measurement is, or why it failed."""
    if state == "running":
        return {**view, "progress": progress(step), "actions": []}
    return {**view, "notes": [*view["notes"], problem]} if problem else dict(view)


def progress(step: Record) -> dict[str, Any]:
    """What a measurement does, for how long already, and how far it is."""
    seconds = strings.seconds(float(step.get("seconds") or 0))
    text = f"{str(step.get('text', '')).capitalize()}… {seconds}"
    return {"text": text, "fraction": float(step.get("fraction") or 0)}


def table(
    columns: Sequence[Record],
    rows: Sequence[Record],
    *,
    title: str = "",
    filters: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """A table.

    Args:
        columns: from `column`; rows: from `row`.
        title: above it.
        filters: (tag, words) of buttons that leave only the rows with the tag.
    """
    counted = [{"tag": tag, "label": f"{words} · {_tagged(rows, tag)}"} for tag, words in filters]
    every = [{"tag": "", "label": f"all · {len(rows)}"}] if filters else []
    return {
        "title": title,
        "columns": list(columns),
        "rows": list(rows),
        "filters": [*every, *counted],
    }


def column(
    label: str, kind: str = "text", tip: str = "", unit: str = "", group: str = ""
) -> dict[str, str]:
    """A column.

    Args:
        label: its head; unit: in smaller letters behind it.
        kind: name (cut in the middle), text, note (wraps), number, bars, mark or action.
        tip: what it means; group: a head over this and its neighbours of the same group.
    """
    return {"label": label, "kind": kind, "help": tip, "unit": unit, "group": group}


def mark(text: str, tone: str) -> dict[str, Any]:
    """A word with a dot in a colour: float, quant, warn or dim."""
    return {"text": text, "mark": tone}


def row(
    cells: Sequence[Any], tone: str = "plain", tags: Sequence[str] = (), tip: str = ""
) -> dict[str, Any]:
    """A row: cells are texts, `bars`, `mark`s, `action`s or None."""
    return {"cells": list(cells), "tone": tone, "tags": list(tags), "tip": tip}


def bars(text: str, *shares: tuple[float, str]) -> dict[str, Any]:
    """A number with bars of (length 0 to 1, tone: float, quant or dim)."""
    drawn = [
        {"fraction": round(min(1.0, max(0.0, share)), 4), "tone": tone} for share, tone in shares
    ]
    return {"text": text, "bars": drawn}


def action(label: str, message: Record, tip: str = "", primary: bool = False) -> dict[str, Any]:
    """A button that sends `message`."""
    return {"label": label, "send": dict(message), "help": tip, "primary": primary}


def choice(label: str, message: Record, chosen: bool, series: int, tip: str = "") -> Record:
    """A button that stays pressed while `chosen`; series: of charts, whose colour it bears."""
    return {"label": label, "send": dict(message), "chosen": chosen, "series": series, "help": tip}


def picture(uri: str, words: str) -> dict[str, Any]:
    """A small picture in a table, from a `data:` address, with what it shows."""
    return {"picture": uri, "text": words}


def section(entries: Sequence[tuple[str, str, str]], chosen: str, body: Record) -> dict[str, Any]:
    """The whole view.

    Args:
        entries: (key, title, state in a few words) of each part.
        chosen: key of the part that is shown; body: that part.
    """
    parts = [{"key": key, "title": title, "status": status} for key, title, status in entries]
    return {"parts": parts, "chosen": chosen, "body": dict(body)}


def _tagged(rows: Sequence[Record], tag: str) -> int:
    return sum(tag in row["tags"] for row in rows)
