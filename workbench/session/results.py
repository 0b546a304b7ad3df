"""What came of a sweep: a row for each run, and those that none beats in score and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.session.grid import Point
from workbench.session.runs import Run
from workbench.session.scores import LOWER_IS_BETTER

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Results:
    """What came of a sweep.

    Attributes:
        records: one for each point, in the order of the grid.
    """

    records: list[dict[str, Any]] = field(repr=False)

    def __repr__(self) -> str:
        return f"Results({len(self.records)} runs, {len(self.failed)} failed)"

    @property
    def table(self) -> pandas.DataFrame:
        """One row for each point, its settings in columns of their own."""
        import pandas

        flat = [{**row["settings"], **row} for row in self.records]
        return pandas.DataFrame(flat).drop(columns="settings")

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The records of those that did not come to an end."""
        return [row for row in self.records if row["state"] != "done"]

    @property
    def best(self) -> list[dict[str, Any]]:
        """Those that no other beats in score and size at once, smallest first."""
        kept = [row for row in self.records if row["pareto"]]
        return sorted(kept, key=lambda row: row["bytes"])

    def runs(self) -> list[Run]:
        """The finished runs."""
        return [Run(row["directory"]) for row in self.records if row["state"] == "done"]


def record(point: Point, run: Run, trouble: str = "") -> dict[str, Any]:
    """One row of the results, as JSON values; numbers are None where there is no report."""
    about = run.files.read_run()
    row: dict[str, Any] = {
        "run": run.name,
        "directory": str(run.directory),
        "settings": dict(point.settings),
        "state": run.state,
        "message": trouble or str(about.get("message", "")),
    }
    names = ("score", "metric", "unit", "agreement", "sqnr_db", "kl")
    found, report = {}, {}
    if row["state"] == "done":
        report = run.report()
        found = report["scores"]["onnxruntime"]
        row["float"] = report["scores"]["float"]["score"]
    row |= {name: found.get(name) for name in names}
    return row | {name: report.get(name) for name in ("bytes", "float_bytes", "seconds")}


def marked(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `pareto`: whether no other row is at least as good and as small, and better."""

    def place(row: Mapping[str, Any]) -> tuple[float, float]:
        lower = row["metric"] in LOWER_IS_BETTER
        return row["score"] if lower else -row["score"], row["bytes"]

    done = [place(row) for row in rows if row["state"] == "done"]
    return [
        {**row, "pareto": row["state"] == "done" and _unbeaten(place(row), done)} for row in rows
    ]


def _unbeaten(one: tuple[float, float], others: Sequence[tuple[float, float]]) -> bool:
    return not any(other[0] <= one[0] and other[1] <= one[1] and other != one for other in others)
