"""Several runs side by side: what differs in what was asked, and in what came of it.

The first run is the base: every delta is against it, in scores, layer by layer, and prediction by
prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.foundation.errors import RunError
from workbench.session.recipe import FLOAT, SAME, Recipe
from workbench.session.runs import Run
from workbench.session.store import Checkpoint, finite

SCORES = ("score", "agreement", "kl", "sqnr_db")
COSTS = ("bytes", "float_bytes", "latency_ms", "seconds")
LAYERS = (
    "bits_weights", "bits_activations", "alone_weights_db", "alone_activations_db",
    "accumulated_db", "damage_kl", "damage_flips",
)  # fmt: skip
FILE = "onnxruntime"  # the exported file is what is compared


def compare(runs: Sequence[Run]) -> dict[str, Any]:
    """The comparison as JSON values; numbers are None where a run does not have them.

    Returns:
        `runs` (name, directory, state, model, metric, unit), `differs` (key and the value of each
        run), `scores` and `layers` (values of each run and deltas against the first), `flips` (for
        each run after the first: how many predictions it changes, and which).

    Raises:
        RunError: fewer than two runs, or one that is not done.
    """
    if len(runs) < 2:
        raise RunError("one run has nothing to be compared with; name two or more")
    reports = [run.report() for run in runs]
    return {
        "runs": [_about(run, report) for run, report in zip(runs, reports, strict=True)],
        "differs": _telling(differing([asked(run) for run in runs]), [run.recipe for run in runs]),
        "scores": _scores(reports),
        "layers": _layers(reports),
        "flips": [flips(runs[0], run) for run in runs[1:]],
    }


def gather(runs: Sequence[Run]) -> dict[str, Any]:
    """All that a report of runs is made from, as JSON values; it names no folder of this machine.

    Returns:
        `runs` (`name`, `report`, `events`) and `comparison`, None for a single run.
    """
    found = []
    for run in runs:
        report = run.report()
        model = {key: value for key, value in report["model"].items() if key != "origin"}
        whole = {"name": run.name, "report": {**report, "model": model}, "events": run.events()}
        found.append(whole)
    compared = compare(runs) if len(runs) > 1 else None
    if compared is not None:
        for about in compared["runs"]:
            about.pop("directory")
        compared["differs"] = [row for row in compared["differs"] if row["key"] != "data.path"]
    return finite({"runs": found, "comparison": compared})


def asked(run: Run) -> dict[str, Any]:
    """All that decides a run's outcome, by dotted keys: its recipe, model, data and version."""
    about = run.about
    data = about.get("data", {})
    known = {key: data.get(key) for key in ("path", "name", "fingerprint", "content")}
    return {
        "model": about["name"],
        "model.sha256": about["sha256"],
        **{f"data.{key}": value for key, value in known.items() if value is not None},
        "version": about.get("version"),
        "code": about.get("code"),
        **settings(run.recipe),
    }


def settings(recipe: Recipe) -> dict[str, Any]:
    """A recipe by dotted keys, such as "weights.bits" or "stages.0.gram.damping"; a stage's
    options with their usual values.

    Example:
        >>> settings(Recipe())["weights.bits"], settings(Recipe(edges="same"))["edges"]
        (4, 'same')
    """
    values = recipe.model_dump(exclude={"stages", "activations", "edges"})
    found: dict[str, Any] = {}
    _flatten(values, "", found)
    found["edges"] = SAME if recipe.edges is None else recipe.edges
    if recipe.activations is None:
        found["activations"] = FLOAT
    else:
        _flatten(recipe.activations.model_dump(), "activations.", found)
    for index, stage in enumerate(recipe.stages):
        found[f"stages.{index}"] = stage.method
        if stage.layers:
            found[f"stages.{index}.layers"] = ", ".join(stage.layers)
        options = stage.parsed().model_dump()
        _flatten(options, f"stages.{index}.{stage.method}.", found)
    return found


def differing(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Only what is not the same in all: `key`, and `values` with None where one has no such key."""
    keys = list(dict.fromkeys(key for one in found for key in one))
    rows = [{"key": key, "values": [one.get(key) for one in found]} for key in keys]
    return [row for row in rows if any(value != row["values"][0] for value in row["values"])]


def _telling(rows: list[dict[str, Any]], recipes: Sequence[Recipe]) -> list[dict[str, Any]]:
    """Without the usual options of methods that not all have: that the methods differ says it."""
    said = {
        f"stages.{index}.{stage.method}.{option}"
        for recipe in recipes
        for index, stage in enumerate(recipe.stages)
        for option in stage.options
    }
    return [
        row
        for row in rows
        if None not in row["values"] or row["key"].count(".") < 3 or row["key"] in said
    ]


def flips(base: Run, other: Run) -> dict[str, Any]:
    """Which held-out examples the files of two runs classify differently.

    Returns:
        `base`, `run` (names), `examples`, `flipped`, `gained` (now right), `lost` (now wrong) and
        `rows` of example, label, before, after; `reason`, and None for the numbers, where the runs
        cannot be compared so.
    """
    record: dict[str, Any] = {"base": base.name, "run": other.name, "reason": ""}
    pair = [Checkpoint.read(run.files.predictions) for run in (base, other)]
    reason = _incomparable((base, other), pair)
    if reason or pair[0] is None or pair[1] is None:
        return {
            **record,
            "reason": reason,
            **dict.fromkeys(("examples", "flipped", "gained", "lost")),
            "rows": [],
        }
    before, after = (found[FILE] for found in pair if found is not None)
    labels = pair[0].get("labels")
    count = min(len(before), len(after))
    changed = torch.nonzero(before[:count] != after[:count]).flatten().tolist()
    rows = [_flip(index, labels, before, after) for index in changed]
    right = [None if labels is None else sum(r["label"] == r[k] for r in rows) for k in _SIDES]
    numbers = {"examples": count, "flipped": len(rows), "gained": right[1], "lost": right[0]}
    return {**record, **numbers, "rows": rows}


_SIDES = ("before", "after")


def _incomparable(runs: Sequence[Run], found: Sequence[Mapping[str, Tensor] | None]) -> str:
    for run, predictions in zip(runs, found, strict=True):
        if predictions is None:
            return f"run '{run.name}' holds no class for each example"
    first, second = ({**run.about.get("data", {}), "path": ""} for run in runs)
    if first != second or _split(runs[0].recipe) != _split(runs[1].recipe):
        return "they were judged on different examples"
    return ""


def _split(recipe: Recipe) -> tuple[int, int]:
    """What decides which examples of a pool judge."""
    return recipe.calibration_examples, recipe.training_examples


def _flip(index: int, labels: Tensor | None, before: Tensor, after: Tensor) -> dict[str, Any]:
    label = None if labels is None else int(labels[index])
    return {
        "example": index,
        "label": label,
        "before": int(before[index]),
        "after": int(after[index]),
    }


def _about(run: Run, report: Mapping[str, Any]) -> dict[str, Any]:
    file = report["scores"][FILE]
    return {
        "name": run.name,
        "directory": str(run.directory),
        "state": run.state,
        "model": report["model"]["name"],
        "metric": file["metric"],
        "unit": file["unit"],
    }


def _scores(reports: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = [_row(key, [report["scores"][FILE].get(key) for report in reports]) for key in SCORES]
    return rows + [_row(key, [report.get(key) for report in reports]) for key in COSTS]


def _layers(reports: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each layer and number that any run has."""
    tables = [{str(r["layer"]): r for r in report.get("layers") or ()} for report in reports]
    names = list(dict.fromkeys(name for table in tables for name in table))
    rows = []
    for name in names:
        for key in LAYERS:
            values = [table.get(name, {}).get(key) for table in tables]
            if any(value is not None for value in values):
                rows.append({"layer": name, **_row(key, values)})
    return rows


def _row(key: str, values: Sequence[float | None]) -> dict[str, Any]:
    base = values[0]
    deltas = [None if v is None or base is None else v - base for v in values]
    return {"key": key, "values": list(values), "deltas": deltas}


def _flatten(values: Any, prefix: str, found: dict[str, Any]) -> None:
    items = values.items() if isinstance(values, Mapping) else enumerate(values)
    for key, value in items:
        if isinstance(value, Mapping | list | tuple):
            _flatten(value, f"{prefix}{key}.", found)
        else:
            found[f"{prefix}{key}"] = value
