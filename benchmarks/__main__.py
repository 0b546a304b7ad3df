"""Run the benchmarks that this machine has the models and data for, and write their tables.

    python -m benchmarks [--pictures PATH] [--json]

Measured are the quick forms of the accuracy table (digits models) and of the cost curves, then
EfficientNet-Lite0, forward passes, and the opening of files. Records go to `benchmarks/results`
and are not measured again: an interrupted run goes on where it stopped, and a file that is removed
is measured anew. The log says what is being done and how long it has to go.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import accuracy, curves, speed, tables
from benchmarks.keeping import RESULTS, append, fill, recorded
from benchmarks.machine import stamp

log = logging.getLogger("benchmarks")
PAGE = "tables.md"
DIGITS = ("digits-resnet", "digits-mobilenet", "digits-vit", "digits-gru")
SETTINGS = ("W4A8", "W4A4")
#: method -> seeds; nearest rounding has no chance in it
METHODS = {"rtn": 1, "gptq": 2, "gram": 2}
Rows = Callable[[], Iterable[Mapping[str, Any]]]


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--pictures", type=Path, default=accuracy.PICTURES)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    fill(scores(), accuracy.run, RESULTS / "accuracy.jsonl")
    fill(costs(), curves.run, RESULTS / "curves.jsonl")
    for name, rows in _others(given.pictures).items():
        keep(name, rows, RESULTS)
    page = RESULTS / PAGE
    page.write_text(tables.page(RESULTS), encoding="utf-8")
    found = {path.stem: list(recorded(path)) for path in sorted(RESULTS.glob("*.jsonl"))}
    sys.stdout.write(json.dumps(found) + "\n" if given.json else page.read_text(encoding="utf-8"))
    log.info("records are in '%s', tables in '%s'", RESULTS, page)


def scores() -> list[accuracy.Case]:
    """The quick form of the accuracy table."""
    return [
        accuracy.Case(model, setting, method, "8", seed)
        for model in DIGITS
        for setting in SETTINGS
        for method, seeds in METHODS.items()
        for seed in range(seeds)
    ]


def costs() -> list[curves.Case]:
    """The quick form of the cost curves."""
    return curves.cases(curves.QUICK, list(curves.METHODS), seeds=1)


def keep(name: str, rows: Rows, folder: Path) -> None:
    """Write rows to a file of their own, once all of them are there; not if it stands already."""
    path = folder / f"{name}.jsonl"
    if path.exists():
        log.info("%s: kept", path.name)
        return
    start, found = time.perf_counter(), []
    for row in rows():
        found.append({**row, **stamp()})
        log.info("  %s: %d rows after %.0f s", name, len(found), time.perf_counter() - start)
    if found:
        append(path, found)


def _others(pictures: Path) -> dict[str, Rows]:
    found: dict[str, Rows] = {
        "speed": speed.rows,
        "openings": speed.openings,
    }
    if importlib.util.find_spec("efficientnet_lite_pytorch") is None:
        log.warning("EfficientNet-Lite0 is left out: run 'make zoo' first")
    elif not pictures.exists():
        log.warning("no pictures at '%s': give them with --pictures PATH", pictures)
    else:
        from benchmarks import efficientnet

        found["efficientnet"] = lambda: efficientnet.rows(pictures)
    return found


if __name__ == "__main__":
    main()
