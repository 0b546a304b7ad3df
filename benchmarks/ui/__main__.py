"""Measure the app as a person and as a class feel it; the exit code says whether budgets hold.

    python -m benchmarks.ui [--browsers N] [--minutes M] [--only person|newcomer|notebook|class]
                            [--runs FOLDER] [--out FOLDER]

The app is started as `make app` starts it, in a folder of its own, and warmed up once: a first
start measures the sample's baseline, which a warm machine has. The person comes first, alone; then
one who has never seen it, then one in JupyterLab, then the class. Records go to `ui.json` and
`ui.md` in the folder.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.keeping import RESULTS
from benchmarks.machine import stamp
from benchmarks.ui import crowd, newcomer, notebook, person, tables, warming
from benchmarks.ui.budgets import verdicts
from benchmarks.ui.server import Server, running

log = logging.getLogger("benchmarks.ui")
Measure = Callable[[], dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, measure, write; 0 where all budgets hold, else 1."""
    parser = argparse.ArgumentParser(prog="benchmarks.ui", description=__doc__)
    parser.add_argument("--browsers", type=int, default=30, help="simulated ones; default 30")
    parser.add_argument("--minutes", type=float, default=5.0, help="they stay; default 5")
    parser.add_argument("--only", choices=("person", "newcomer", "notebook", "class"))
    parser.add_argument("--runs", type=Path, help="folder of the app, warm if it was used before")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    record: dict[str, Any] = {"about": stamp()}
    with tempfile.TemporaryDirectory(prefix="bench-ui-") as name:
        runs = given.runs or Path(name)
        if given.only != "notebook":
            log.info("warming up")
            warming.warm(runs)
        for part, words, measure in _parts(given, runs):
            if given.only in (None, part):
                log.info("%s", words)
                record[part] = measure()
                write(record, given.out)
    sys.stdout.write(tables.page(record))
    return 0 if all(each.held for each in verdicts(record)) else 1


def _parts(given: argparse.Namespace, runs: Path) -> list[tuple[str, str, Measure]]:
    """What is measured: its name, words for the log, and how."""
    many, minutes = given.browsers, given.minutes

    def served(measure: Callable[[Server], dict[str, Any]]) -> dict[str, Any]:
        with running(runs) as server:
            return measure(server)

    return [
        ("person", "one person in Chromium", lambda: served(person.measure)),
        (
            "newcomer",
            "one who has never seen it",
            lambda: served(lambda server: newcomer.measure(server, runs)),
        ),
        ("notebook", "widgets in JupyterLab", lambda: notebook.measure(runs / "notebook")),
        (
            "class",
            f"{many} browsers for {minutes:g} minutes",
            lambda: served(lambda server: crowd.measure(server, many, minutes)),
        ),
    ]


def write(record: Mapping[str, Any], out: Path) -> None:
    """Keep what was measured so far."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "ui.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    (out / "ui.md").write_text(tables.page(record), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
