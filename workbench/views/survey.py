"""The survey's two maps as one view-model: stages × signals and what fills them; the adviser."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from workbench.foundation.taxonomy import SIGNALS, STAGES, STRATEGIES
from workbench.lessons.survey import AXES, Visit
from workbench.session.advice import Advice
from workbench.session.frame import frame
from workbench.session.guide import CONSTRAINTS, CONVOLUTIONS, DATA, GUIDE, MODELS, Row
from workbench.views import strings

View = dict[str, Any]


def survey(visit: Visit, use: str = "") -> View:
    """The view-model.

    Args:
        visit: what is looked at, and asked.
        use: words of the button that opens a recipe; none where there is no such button.
    """
    return {
        "signals": [
            {"key": k, "label": k.replace("_", " "), "help": t} for k, t in SIGNALS.items()
        ],
        "stages": [{"key": key, "label": key, "help": text} for key, text in STAGES.items()],
        "cells": matrix(),
        "cell": _cell(visit),
        "opened": _opened(visit),
        "axes": _axes(visit),
        "advice": _advice(visit.advice()),
        "guide": _guide(visit),
        "use": use,
        "problem": visit.problem,
        "citation": strings.SURVEY_CITATION,
    }


@cache
def matrix() -> dict[str, View]:
    """Cell -> how many of ours are in it, who they are, and what the literature has there."""
    found = {}
    for cell in frame():
        ours = list(cell.ours)
        few = ", ".join(ours[:4]) + (f" and {len(ours) - 4} more" if len(ours) > 4 else "")
        found[f"{cell.stage}/{cell.signal}"] = {
            "count": len(ours),
            "ours": ours,
            "published": cell.published,
            "tip": few or f"in the literature only: {cell.published}",
        }
    return found


def _cell(visit: Visit) -> View:
    stage, _, signal = visit.cell.partition("/")
    listed = {entry.name for entry in visit.methods()}
    here = matrix().get(visit.cell, {"ours": [], "published": ""})
    return {
        "key": visit.cell,
        "title": f"{stage} · {signal.replace('_', ' ')}",
        "text": f"{_capital(STAGES[stage])}; taught by: {SIGNALS[signal]}.",
        "methods": [
            {
                "kind": entry.kind,
                "name": entry.name,
                "title": entry.title,
                "use": entry.facts["use"],
                "needs": f"{entry.facts['data']}; {entry.facts['cost']}",
                "strategy": STRATEGIES[entry.facts["strategy"]],
                "citation": entry.citation,
                "chosen": (entry.kind, entry.name) == (visit.kind, visit.name),
            }
            for entry in visit.methods()
        ],
        "commands": [f"workbench {name}" for name in here["ours"] if name not in listed],
        "published": here["published"],
    }


def _opened(visit: Visit) -> View | None:
    found = visit.opened()
    if found is None:
        return None
    return {**found.record(), "recipe": found.recipe.brief(), "shell": _shell(found.sample)}


def _axes(visit: Visit) -> list[View]:
    values = {"data": visit.data, "model": visit.model, "constraint": visit.constraint}
    names = {
        "data": dict(DATA),
        "model": {key: text for key, (text, _) in MODELS.items()},
        "constraint": {key: text for key, (text, _) in CONSTRAINTS.items()},
    }
    return [
        {
            "axis": axis,
            "label": strings.SURVEY_AXES[axis],
            "value": values[axis],
            "choices": [{"value": key, "text": text} for key, text in names[axis].items()],
        }
        for axis in AXES
    ]


def _advice(found: Advice) -> View:
    return {**found.record(), "recipe": found.recipe.brief(), "shell": _shell(found.sample)}


def _guide(visit: Visit) -> list[View]:
    """All rows, those first that speak of the model and constraint that are asked about."""
    taken = visit.advice().row
    rows = [_row(row, row is taken, visit) for row in GUIDE]
    return sorted(rows, key=lambda row: (not row["taken"], not row["near"]))


def _row(row: Row, taken: bool, visit: Visit) -> View:
    first = {"data": row.data[0], "model": row.models[0], "constraint": row.constraints[0]}
    near = visit.model in row.models and visit.constraint in row.constraints
    return {
        "data": _joined(row.data, DATA),
        "models": _families(row.models),
        "constraints": ", ".join(row.constraints),
        "recommended": row.recommended,
        "why": row.why,
        "taken": taken,
        "near": near,
        "ask": first,
    }


def _families(keys: tuple[str, ...]) -> str:
    if len(keys) == len(MODELS):
        return "any"
    return "CNN" if keys == CONVOLUTIONS else ", ".join(strings.FAMILIES[key] for key in keys)


def _joined(keys: tuple[str, ...], named: Mapping[str, str]) -> str:
    """In words; of neighbours in a row only the first and the last."""
    if len(keys) > 2:
        return f"{named[keys[0]]} or more"
    return " or ".join(named[key] for key in keys)


def _shell(sample: str) -> str:
    return f"workbench quantize {sample} --recipe recipe.toml"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
