"""A job while it runs: how far, how long still, and one small curve per layer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.views import strings
from workbench.views.numbers import number, signed

Record = Mapping[str, Any]

PREFERRED = ("loss", "error")
NEAREST, LEARNED = "error_nearest", "error_learned"
MOST_POINTS = 120

_EPOCH = re.compile(r"epoch \d+")


def learning(
    events: Sequence[Record],
    progress: Record | None,
    state: str,
    name: str = "",
    problem: str = "",
) -> dict[str, Any]:
    """The view-model of the learning panel.

    Args:
        events: event records in order.
        progress: `{"fraction", "eta_seconds", "text"}` of the job.
        state: "running", "stopped", "done", "failed", or "" for no job.
        name: of the run; problem: why it failed.
    """
    panels = _panels(events)
    told = strings.sentence_case(problem) if state == "failed" else ""
    running = state == "running"
    if running and panels:
        panels[-1]["current"] = True
    title = strings.LEARN_TITLE if not name else f"{strings.LEARN_TITLE} · {name}"
    return {
        "title": title,
        "running": running,
        "fraction": min(1.0, max(0.0, number((progress or {}).get("fraction")) or 0.0)),
        "status": status_line(progress or {}, state),
        "panels": panels,
        "message": waiting(events) if running else told or _outcome(events, state),
    }


def waiting(events: Sequence[Record]) -> str:
    """What is said of a job at work that has nothing to draw: it starts, or does not learn."""
    return strings.LEARN_NOTHING if events else strings.LEARN_WAITING


def queued(ahead: int, seconds: float, name: str) -> dict[str, Any]:
    """The same of a job that waits: how many come first, and when it is its turn."""
    before = f"{strings.plural(ahead, 'job')} before it" if ahead else strings.NEXT
    return {
        "title": f"{strings.LEARN_TITLE} · {name}",
        "running": True,
        "fraction": 0.0,
        "status": f"waiting · {before} · about {strings.seconds(seconds)}",
        "panels": [],
        "message": strings.LEARN_QUEUED,
    }


def status_line(progress: Record, state: str) -> str:
    """What a job does and how long it will take; how it ended, if not well."""
    if state != "running":
        return {"stopped": "stopped", "failed": "failed"}.get(state, "")
    eta = number(progress.get("eta_seconds"))
    left = "" if eta is None else f"{strings.seconds(eta)} left"
    return " · ".join(part for part in (str(progress.get("text") or ""), left) if part)


def _outcome(events: Sequence[Record], state: str) -> str:
    notes = [str(event["text"]) for event in events if event.get("text")]
    if state == "done" and notes and not any(event.get("values") for event in events):
        steps = any(event.get("kind") == "step" for event in events)
        return strings.LEARN_RANGES if steps else strings.LEARN_NONE
    return notes[-1] if notes and state else strings.LEARN_EMPTY


def _panels(events: Sequence[Record]) -> list[dict[str, Any]]:
    """One panel per layer, in the order in which learning reached them; one for all epochs."""
    series: dict[str, list[float]] = {}
    solved: dict[str, Record] = {}
    for event in events:
        site = str(event.get("site") or "")
        values = event.get("values") or {}
        if not site or event.get("kind") not in ("step", "layer"):
            continue
        if number(values.get(NEAREST)) and number(values.get(LEARNED)) is not None:
            solved[site] = values
            series[site] = [float(values[NEAREST]), float(values[LEARNED])]
            continue
        value = _signal(values)
        if value is not None:
            name = strings.EPOCHS if _EPOCH.fullmatch(site) else site
            series.setdefault(name, []).append(value)
    return [_panel(site, points, solved.get(site)) for site, points in series.items()]


def _panel(site: str, points: Sequence[float], solved: Record | None) -> dict[str, Any]:
    """A curve; for a layer that was solved in one go a fall from nearest rounding to learned."""
    thin = _thinned(points)
    before, after = points[0], points[-1]
    text = f"{before:.3g} → {after:.3g}" if len(points) > 1 else f"{after:.3g}"
    tip = f"{site}: {text}"
    if solved is not None:
        text = f"{signed(10 * math.log10(before / after))} dB" if after > 0 else "exact"
        tip = f"{site}: output error {before:.3g} with nearest rounding, {after:.3g} learned"
        if number(solved.get("flips")) is not None:
            tip += f"; {100 * solved['flips']:.0f} % of the codes moved"
    return {
        "label": site,
        "layer": None if site == strings.EPOCHS else site,
        "points": thin,
        "low": 0.0 if solved is not None else min(thin),
        "high": max(thin),
        "text": text,
        "tip": tip,
        "current": False,
    }


def _signal(values: Record) -> float | None:
    """The number that is drawn: the loss if there is one, else the first."""
    for key in (*PREFERRED, *values):
        value = number(values.get(key))
        if value is not None:
            return value
    return None


def _thinned(points: Sequence[float]) -> list[float]:
    if len(points) <= MOST_POINTS:
        return list(points)
    step = len(points) / MOST_POINTS
    return [*(points[int(k * step)] for k in range(MOST_POINTS - 1)), points[-1]]
