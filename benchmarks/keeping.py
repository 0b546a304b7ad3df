"""Records of cases as lines of JSON in a file: what stands there is not measured again."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import stamp

log = logging.getLogger("benchmarks")
RESULTS = Path(__file__).parent / "results"


def fill(wanted: Sequence[Any], run: Callable[[Any], dict[str, Any]], path: Path) -> None:
    """Run the cases (frozen dataclasses of one kind) that have no record in the file yet.

    Each record gets machine and date, and is written as soon as it is there. The log says how far
    it has come, and how long the rest takes if each case takes as long as those before.
    """
    todo = missing(wanted, path)
    log.info("%s: %d of %d cases to run", path.name, len(todo), len(wanted))
    start = time.perf_counter()
    for index, case in enumerate(todo, 1):
        append(path, [run(case) | stamp()])
        left = (time.perf_counter() - start) / index * (len(todo) - index)
        what = " ".join(str(value) for value in asdict(case).values())
        log.info("  %s (%d of %d, about %.0f s left)", what, index, len(todo), left)


def missing(wanted: Sequence[Any], path: Path) -> list[Any]:
    """The cases without a record."""
    if not wanted:
        return []
    names = list(asdict(wanted[0]))
    done = {tuple(record[name] for name in names) for record in recorded(path)}
    return [case for case in wanted if tuple(asdict(case).values()) not in done]


def recorded(path: Path) -> Iterator[dict[str, Any]]:
    """What stands in a file; nothing where there is none."""
    if path.exists():
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def append(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Add lines to a file; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
