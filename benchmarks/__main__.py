"""Run the benchmarks that this machine has the models and data for, and print their tables.

python -m benchmarks [--pictures PATH] [--json]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

log = logging.getLogger("benchmarks")
DATA = Path(os.environ.get("WORKBENCH_DATA") or Path(__file__).parents[2] / "shared" / "data")


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--pictures", type=Path, default=DATA / "imagenet_samples_500.zip")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if importlib.util.find_spec("efficientnet_lite_pytorch") is None:
        log.warning("EfficientNet-Lite0 is left out: run 'make zoo' first")
        return
    results: dict[str, Sequence[dict]] = {}
    if given.pictures.exists():
        from benchmarks import efficientnet

        results["EfficientNet-Lite0, weights"] = list(efficientnet.rows(given.pictures))
    else:
        log.warning("no pictures at '%s': give them with --pictures PATH", given.pictures)
    from benchmarks import speed

    results["Built graph against eager, batch 16"] = list(speed.rows())
    results["Opening a file"] = list(speed.openings())
    _show(results, given.json)


def _show(results: dict[str, Sequence[dict]], as_json: bool) -> None:
    console = Console()
    if as_json:
        console.print_json(json.dumps(results))
        return
    for title, records in results.items():
        table = Table(*records[0], title=title, title_justify="left")
        for record in records:
            table.add_row(*(_cell(value) for value in record.values()))
        console.print(table)


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
