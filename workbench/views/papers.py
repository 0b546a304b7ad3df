"""What lies behind the pictures of a report: rows for CSV and JSON, figures for a paper."""

from __future__ import annotations

import base64
import csv
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from workbench.views import cured, figures

Record = Mapping[str, Any]
Rows = list[dict[str, Any]]

FORMATS = ("svg", "pdf")


@dataclass(frozen=True)
class Paper:
    """One picture.

    Attributes:
        name: of its files, without suffix.
        title: for people.
        rows: the numbers that it is drawn from, as flat records.
        figure: for a paper; None where there is only the interactive one.
    """

    name: str
    title: str
    rows: Rows
    figure: Figure | None = None

    def view(self) -> dict[str, Any]:
        """As JSON values, files in base64."""
        drawn = None
        if self.figure is not None:
            drawn = {
                kind: base64.b64encode(drawing(self.figure, kind)).decode() for kind in FORMATS
            }
        return {"name": self.name, "title": self.title, "rows": self.rows, "figures": drawn}

    def write(self, folder: Path) -> list[Path]:
        """Write the rows and the figure into `folder`."""
        written = []
        if self.rows:
            written += [folder / f"{self.name}.csv", folder / f"{self.name}.json"]
            written[0].write_text(csv_text(self.rows), encoding="utf-8")
            written[1].write_text(json.dumps(self.rows, indent=1, allow_nan=False) + "\n")
        if self.figure is not None:
            for kind in FORMATS:
                written.append(folder / f"{self.name}.{kind}")
                written[-1].write_bytes(drawing(self.figure, kind))
        return written


def of_run(name: str, report: Record, events: Sequence[Record]) -> dict[str, Paper]:
    """The pictures of one run, by the picture's name in the page."""
    records = list(report.get("layers") or ())
    before = list(report.get("naive_layers") or ())
    gained = figures.before_after(before, records) if before and records else None
    found = {
        "scores": Paper(f"{name}-scores", "scores", scores(report)),
        "layers": Paper(
            f"{name}-layers",
            "layers",
            [dict(record) for record in records],
            figures.layer_errors(records) if records else None,
        ),
        "curves": Paper(f"{name}-learning", "learning", learning(events), gained),
        "verdict": Paper(f"{name}-verification", "verification", verification(report)),
        "cured": Paper(f"{name}-cures", "cures", cured.rows(report.get("cured"))),
        "signals": Paper(f"{name}-signals", "signals", signals(events)),
    }
    return {key: paper for key, paper in found.items() if paper.rows or paper.figure}


def of_layer(name: str, report: Record, layer: str, drawn: bool = True) -> Paper:
    """The histograms of one layer, with the figure of its weights where it is wanted."""
    sites = {k: v for k, v in (report.get("histograms") or {}).items() if v.get("layer") == layer}
    rows = [row for site, record in sites.items() for row in bins(site, record)]
    weight = next(((s, r) for s, r in sites.items() if r.get("kind") == "weight"), None)
    figure = figures.histogram(weight[1], figures.short(weight[0])) if weight and drawn else None
    return Paper(f"{name}-{_plain(layer)}", f"histograms of {layer}", rows, figure)


def of_several(comparison: Record) -> dict[str, Paper]:
    """The pictures of several runs together."""
    layers = [_spread(row, comparison) for row in comparison["layers"]]
    return {
        "comparison": Paper("comparison", "comparison", layers, figures.deltas(comparison)),
        "front": Paper(
            "score-and-size", "score and size", sizes(comparison), figures.front(comparison)
        ),
        "flips": Paper("flips", "predictions that flipped", flipped(comparison)),
    }


def scores(report: Record) -> Rows:
    """A row for each candidate."""
    return [{"candidate": name, **record} for name, record in (report.get("scores") or {}).items()]


def learning(events: Sequence[Record]) -> Rows:
    """A row for each event that reports values."""
    kept = ("kind", "stage", "site", "step", "total")
    return [
        {**{key: event.get(key) for key in kept}, **(event.get("values") or {})}
        for event in events
        if event.get("values")
    ]


def signals(events: Sequence[Record]) -> Rows:
    """A row for each reading of a site."""
    return [
        {"stage": event.get("stage"), "step": event.get("step"), "site": site, **reading}
        for event in events
        for site, reading in (event.get("sites") or {}).items()
    ]


def verification(report: Record) -> Rows:
    """A row for each tensor and each way to run the file."""
    modes = (report.get("verification") or {}).get("modes") or ()
    return [
        {"optimisations": mode["optimisations"], "kernels": mode["kernels"], **site}
        for mode in modes
        for site in mode["sites"]
    ]


def bins(site: str, record: Record) -> Rows:
    """A row for each bin that is not empty."""
    start, width = record["start"], record["width"]
    return [
        {"site": site, "from": start + index * width, "to": start + (index + 1) * width, "count": n}
        for index, n in enumerate(record["counts"])
        if n
    ]


def sizes(comparison: Record) -> Rows:
    """A row for each run."""
    values = {row["key"]: row["values"] for row in comparison["scores"]}
    return [
        {"run": run["name"], **{key: found[index] for key, found in values.items()}}
        for index, run in enumerate(comparison["runs"])
    ]


def flipped(comparison: Record) -> Rows:
    """A row for each prediction that flipped."""
    return [
        {"base": flip["base"], "run": flip["run"], **row}
        for flip in comparison["flips"]
        for row in flip["rows"]
    ]


def drawing(figure: Figure, kind: str) -> bytes:
    """The figure as a file, the same at each call."""
    stream = io.BytesIO()
    dated = {"svg": "Date", "pdf": "CreationDate"}[kind]
    with warnings.catch_warnings():  # a stranger's names may hold letters that no font here has
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(stream, format=kind, metadata={dated: None})
    return stream.getvalue()


def csv_text(rows: Sequence[Record]) -> str:
    """Rows as CSV; text that a spreadsheet would take for a formula gets an apostrophe."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(keys)
    writer.writerows([[_cell(row.get(key)) for key in keys] for row in rows])
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _spread(row: Record, comparison: Record) -> dict[str, Any]:
    """One layer's number with a column for each run."""
    names = [run["name"] for run in comparison["runs"]]
    return {
        "layer": row["layer"],
        "number": row["key"],
        **dict(zip(names, row["values"], strict=True)),
    }


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)[:60]
