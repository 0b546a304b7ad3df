"""The numbers of the header, and the list of runs with only what differs between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.session.scores import LOWER_IS_BETTER
from workbench.views import strings
from workbench.views.numbers import decimals, fixed, number, signed

Record = Mapping[str, Any]

NOTICEABLE = {"%": 1.0, "bits": 0.02}


def scores(report: Record) -> dict[str, Any]:
    """The items of the header: float, nearest, learned, proved, size, latency."""
    found = report.get("scores") or {}
    base = found.get("float")
    items = [
        _score("float", base, None, "The model as it came, on held-out data"),
        _score("nearest rounding", found.get("naive"), base, "The same bits, nothing learned"),
        _score(_learned(report), found.get("learned"), base, "As simulated here"),
        _score("ONNX Runtime", found.get("onnxruntime"), base, "The exported file, executed"),
        _ratio("size", report.get("bytes"), report.get("float_bytes"), strings.size, "of the file"),
        _ratio(
            "latency",
            report.get("latency_ms"),
            report.get("float_latency_ms"),
            _milliseconds,
            "median for one example on this machine",
        ),
    ]
    return {"items": [item for item in items if item is not None] + _data_free(report)}


def waiting(text: str) -> dict[str, Any]:
    """The header before anything was measured."""
    return {"items": [{"label": text, "value": "…", "delta": "", "tone": "dim", "help": text}]}


def nothing() -> dict[str, Any]:
    """The header where nothing can be measured."""
    labels = ("float", "nearest rounding", "ONNX Runtime", "size", "latency")
    empty = {"value": "–", "delta": "", "tone": "dim", "help": "not measured"}
    return {"items": [{"label": label, **empty} for label in labels]}


def metric(record: Record | None) -> str:
    """`95.8 %`, `2.31 bits`, or a dash."""
    value = number((record or {}).get("score"))
    if record is None or value is None:
        return "–"
    unit = record.get("unit", "%")
    return f"{fixed(value, 1 if unit == '%' else 2)} {unit}".strip()


def runs(entries: Sequence[Record], selected: str | None) -> dict[str, Any]:
    """The table of runs, newest first.

    Args:
        entries: `{"id", "name", "state", "settings": {name: text}, "report": {...} or None}`, with
            "place" `{"ahead", "seconds"}` of a job that waits, "progress" of one at work.
        selected: id of the run on screen.
    """
    differing = _differing([entry["settings"] for entry in entries])
    labels = [*differing, *_metric_labels(entries)]
    columns = [{"label": "run", "number": False}]
    columns += [{"label": label, "number": label not in differing} for label in labels]
    rows = [
        {
            "id": entry["id"],
            "selected": entry["id"] == selected,
            "tip": "; ".join(f"{key} {value}" for key, value in entry["settings"].items()),
            "removable": bool(entry["id"]) and entry["state"] not in ("running", "queued"),
            "cells": [
                entry["name"],
                *(entry["settings"].get(key, "") for key in differing),
                *_measured(entry),
            ],
        }
        for entry in entries
    ]
    return {
        "title": strings.RUNS_TITLE,
        "status": "only what differs" if len(entries) > 1 else "",
        "columns": columns,
        "rows": rows,
        "message": strings.RUNS_EMPTY,
        "remove": strings.REMOVE,
        "sure": strings.REMOVE_SURE,
    }


def _learned(report: Record) -> str:
    method = str(report.get("method") or "")
    return f"learned ({method})" if method and method != "rtn" else "simulated"


def _score(
    label: str, record: Record | None, base: Record | None, tip: str
) -> dict[str, Any] | None:
    if not record:
        return None
    item = {"label": label, "value": metric(record), "delta": "", "tone": "dim", "help": tip}
    now, then = number(record.get("score")), number((base or {}).get("score"))
    if now is not None and then is not None:
        item.update(_delta(now - then, str(record.get("metric")), record.get("unit", "%")))
    if record.get("metric"):
        item["help"] = f"{record['metric']}. {tip}{_fidelity(record)}"
    return item


def _delta(difference: float, name: str, unit: str) -> dict[str, str]:
    worse = difference if name in LOWER_IS_BETTER else -difference
    tone = "bad" if worse > NOTICEABLE.get(unit, 1.0) else "good"
    return {"delta": signed(difference, decimals(unit)), "tone": tone}


def _fidelity(record: Record) -> str:
    agreement, noise = number(record.get("agreement")), number(record.get("sqnr_db"))
    if agreement is None:
        return ""
    text = f". Agrees with float on {fixed(agreement)} % of predictions"
    return text if noise is None else f"{text}, output SQNR {fixed(noise)} dB"


def _data_free(report: Record) -> list[dict[str, Any]]:
    """What a run calibrated on where there were no data, and on what it was judged."""
    found = str(report.get("data_free") or "")
    if not found:
        return []
    what = found.removeprefix("data-free (").removesuffix(")")
    tip = f"{found}; {report.get('judged', '')}"
    item = {"label": "data-free", "value": what, "delta": "", "tone": "dim", "help": tip}
    return [item | {"words": True}]


def _ratio(label: str, now: Any, then: Any, text: Any, tip: str) -> dict[str, Any] | None:
    value, base = number(now), number(then)
    if value is None:
        return None
    item = {"label": label, "value": text(value), "delta": "", "tone": "dim", "help": tip}
    if base and value:
        smaller = base / value
        item["delta"] = f"÷{smaller:.1f}" if smaller >= 1 else f"×{1 / smaller:.1f}"
        item["tone"] = "good" if smaller >= 1 else "bad"
        item["help"] = f"{label} {tip}; float {text(base)}"
    return item


def _milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"


def _differing(settings: Sequence[Record]) -> list[str]:
    """Settings that are not the same in all runs."""
    keys = list(dict.fromkeys(key for one in settings for key in one))
    return [key for key in keys if len({one.get(key) for one in settings}) > 1]


def _metric_labels(entries: Sequence[Record]) -> list[str]:
    scores = [(entry.get("report") or {}).get("scores") or {} for entry in entries]
    metrics = [str((found.get("float") or {}).get("metric") or "") for found in scores]
    return [next((name for name in metrics if name), "score"), "SQNR", "size", "time"]


def _standing(entry: Record) -> str:
    """Where a run stands that is not done: its place in the queue, or how far it is, and when."""
    place, found = entry.get("place"), entry.get("progress") or {}
    state = str(entry["state"])
    if place:
        return strings.turn(place["ahead"], place["seconds"])
    eta = number(found.get("eta_seconds"))
    if eta is None:
        return strings.STATES.get(state, state)
    return f"{100 * (number(found.get('fraction')) or 0.0):.0f} % · {strings.seconds(eta)} left"


def _measured(entry: Record) -> list[str]:
    report = entry.get("report")
    if not report:
        return [_standing(entry), "", "", ""]
    learned = (report.get("scores") or {}).get("learned") or {}
    noise = number(learned.get("sqnr_db"))
    count, seconds = number(report.get("bytes")), number(report.get("seconds"))
    return [
        fixed(number(learned.get("score")), decimals(learned.get("unit", "%"))),
        f"{fixed(noise)} dB",
        "–" if count is None else strings.size(count),
        "–" if seconds is None else strings.seconds(seconds),
    ]
