"""Several runs side by side: only what differs, deltas against the first, flipped predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from workbench.session.scores import LOWER_IS_BETTER
from workbench.views import charts, strings, study
from workbench.views.numbers import fixed, number, signed

Record = Mapping[str, Any]

#: numbers of a layer that are shown: head, unit, digits, factor
MEASURES = {
    "accumulated_db": ("total", "dB", 1, 1.0),
    "alone_weights_db": ("weights", "dB", 1, 1.0),
    "damage_kl": ("damage", "mnat", 2, 1000.0),
}
NUMBERS = {
    "score": ("score", 2),
    "agreement": ("agreement %", 2),
    "kl": ("KL, nats", 4),
    "sqnr_db": ("SQNR dB", 1),
    "bytes": ("bytes", 0),
    "float_bytes": ("bytes in float", 0),
    "latency_ms": ("ms", 2),
    "seconds": ("seconds to make", 1),
}
#: costs of a chart: axis, unit, factor
COSTS = {
    "bytes": ("size of the file", "kB", 1e-3),
    "latency_ms": ("time of one example", "ms", 1.0),
}
MOST_FLIPS = 200
PICTURED = 40  # flipped examples of each run, with a picture


def part(record: Record) -> study.Part:
    """The comparison as one part of a view."""
    notes = _reasons(record)
    count = strings.plural(len(record["runs"]), "run")
    return study.part(f"{count} side by side", notes=notes, tables=tables(record))


def asked(record: Record) -> study.Part:
    """What differs between the runs, their scores, and score against size and time."""
    names = labels(record)
    found = [_differs(record, names), _scores(record, names)]
    return study.part(
        strings.COMPARE_ASKED,
        charts=_costs(record, names),
        tables=[table for table in found if table["rows"]],
    )


def layers(record: Record) -> study.Part:
    """The layers of all runs over each other, and their numbers."""
    names = labels(record)
    drawn = [_overlay(record, names, key) for key in ("accumulated_db", "damage_kl")]
    table = _layers(record, names)
    message = "" if table["rows"] else strings.COMPARE_NO_LAYERS
    return study.part(
        strings.COMPARE_LAYERS,
        charts=[chart for chart in drawn if chart["names"]],
        tables=[table] if table["rows"] else [],
        message=message,
    )


def predictions(record: Record, pictures: Mapping[int, str]) -> study.Part:
    """Which predictions flipped, with pictures of the examples where there are some.

    Args:
        pictures: example -> `data:` address.
    """
    names = dict(zip([run["name"] for run in record["runs"]], labels(record), strict=True))
    flips = [{**f, "base": names[f["base"]], "run": names[f["run"]]} for f in record["flips"]]
    short = {**record, "flips": flips}
    counted = any(not flip["reason"] for flip in flips)
    found = [_counts(short)] if counted else []
    found += [_flips(flip, pictures) for flip in flips if flip["rows"]]
    message = "" if counted else strings.COMPARE_NO_FLIPS
    return study.part(strings.COMPARE_FLIPS, notes=_reasons(short), tables=found, message=message)


def flipped(record: Record, most: int = PICTURED) -> list[int]:
    """Examples that any run classifies otherwise, the first `most` of each."""
    rows = [row["example"] for flip in record["flips"] for row in flip["rows"][:most]]
    return sorted(set(rows))


def tables(record: Record) -> list[dict[str, Any]]:
    """What differs, scores, layers and flips; without those that would be empty."""
    names = labels(record)
    found = [_differs(record, names), _scores(record, names), _layers(record, names)]
    found += [_counts(record)] if any(not flip["reason"] for flip in record["flips"]) else []
    found += [_flips(flip) for flip in record["flips"] if flip["rows"]]
    return [table for table in found if table["rows"]]


def labels(record: Record) -> list[str]:
    """What the runs are called in heads: A, B, C ... beside the list of names."""
    return [chr(ord("A") + index % 26) * (1 + index // 26) for index in range(len(record["runs"]))]


def _differs(record: Record, names: Sequence[str]) -> dict[str, Any]:
    columns = [study.column("what differs"), *(study.column(name) for name in names)]
    rows = [study.row(["run", *(run["name"] for run in record["runs"])])]
    rows += [study.row([row["key"], *map(setting, row["values"])]) for row in record["differs"]]
    return study.table(columns, rows, title="Asked")


def setting(value: Any) -> str:
    """Of a setting: a dash for none, and the middle of a long one left out."""
    text = "–" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}…{text[-12:]}"


def _scores(record: Record, names: Sequence[str]) -> dict[str, Any]:
    columns = [study.column("number"), *_columns(names)]
    rows = []
    for row in record["scores"]:
        if all(value is None for value in row["values"]):
            continue
        label, digits = NUMBERS[row["key"]]
        if row["key"] == "score":
            label = f"{record['runs'][0]['metric']} {record['runs'][0]['unit']}".strip()
        rows.append(study.row([label, *_numbers(row, digits, 1.0)]))
    return study.table(columns, rows, title="Scores in ONNX Runtime")


def _layers(record: Record, names: Sequence[str]) -> dict[str, Any]:
    columns = [study.column("layer", "name"), study.column("number"), *_columns(names)]
    rows = []
    for row in record["layers"]:
        if row["key"] in MEASURES:
            label, unit, digits, factor = MEASURES[row["key"]]
            cells = [row["layer"], f"{label}, {unit}", *_numbers(row, digits, factor)]
            rows.append(study.row(cells, tags=[row["key"]]))
    filters = [(key, MEASURES[key][0]) for key in MEASURES]
    return study.table(columns, rows, title="Layers", filters=filters)


def _columns(names: Sequence[str]) -> list[dict[str, str]]:
    """A number for each run, and a delta for each after the first."""
    found = [study.column(names[0], "number")]
    for name in names[1:]:
        found += [study.column(name, "number"), study.column(f"{name} − {names[0]}", "number")]
    return found


def _numbers(row: Record, digits: int, factor: float) -> list[str]:
    values = [_scaled(value, factor) for value in row["values"]]
    deltas = [_scaled(value, factor) for value in row["deltas"]]
    cells = [fixed(values[0], digits)]
    for value, delta in zip(values[1:], deltas[1:], strict=True):
        cells += [fixed(value, digits), "–" if delta is None else signed(delta, digits)]
    return cells


def _scaled(value: Any, factor: float) -> float | None:
    found = number(value)
    return None if found is None else found * factor


def _counts(record: Record) -> dict[str, Any]:
    columns = (
        study.column("against"), study.column("run"), study.column("examples", "number"),
        study.column("flipped", "number"), study.column("now right", "number"),
        study.column("now wrong", "number"),
    )  # fmt: skip
    keys = ("examples", "flipped", "gained", "lost")
    rows = [
        study.row(
            [flip["base"], flip["run"], *("–" if flip[k] is None else f"{flip[k]:,}" for k in keys)]
        )
        for flip in record["flips"]
        if not flip["reason"]
    ]
    return study.table(columns, rows, title="Predictions")


def _costs(record: Record, names: Sequence[str]) -> list[charts.Chart]:
    """The score against each cost that is known of two runs or more."""
    values = {row["key"]: row["values"] for row in record["scores"]}
    first = record["runs"][0]
    better = first["metric"] in LOWER_IS_BETTER
    found = []
    for key, (title, unit, factor) in COSTS.items():
        costs = [_scaled(value, factor) for value in values[key]]
        places = list(zip(names, costs, map(number, values["score"]), strict=True))
        score = (str(first["metric"]), str(first["unit"]))
        chart = charts.points(
            f"Score against {title}", (title, unit), score, places, lower_is_better=better
        )
        found += [chart] if len(chart["points"]) > 1 else []
    return found


def _overlay(record: Record, names: Sequence[str], key: str) -> charts.Chart:
    """One number of each layer, a line for each run."""
    rows = [row for row in record["layers"] if row["key"] == key]
    label, unit, _, factor = MEASURES[key]
    columns = [[_scaled(row["values"][i], factor) for row in rows] for i in range(len(names))]
    series = list(zip(names, columns, strict=True))
    title = f"{label.capitalize()} along the network"
    return charts.lines(title, unit, [row["layer"] for row in rows], series)


def _flips(flip: Record, pictures: Mapping[int, str] = MappingProxyType({})) -> dict[str, Any]:
    keys = ("example", "label", "before", "after")
    columns = [study.column("")] if pictures else []
    columns += [study.column(name, "number") for name in keys]
    rows = [
        study.row([*_pictured(row, pictures), *(setting(row[key]) for key in keys)])
        for row in flip["rows"][:MOST_FLIPS]
    ]
    more = len(flip["rows"]) - len(rows)
    rest = f", the first {MOST_FLIPS}" if more else ""
    return study.table(columns, rows, title=f"Flipped from {flip['base']} to {flip['run']}{rest}")


def _pictured(row: Record, pictures: Mapping[int, str]) -> list[dict[str, Any]]:
    if not pictures:
        return []
    words = f"example {row['example']}"
    return [study.picture(pictures.get(row["example"], ""), words)]


def _reasons(record: Record) -> list[str]:
    """Why the predictions of some runs were not compared."""
    return [f"{f['base']} and {f['run']}: {f['reason']}" for f in record["flips"] if f["reason"]]
