"""A warm machine: the sample's baseline is made, and why its layers suffer is known."""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from benchmarks.ui.server import running

_PATIENCE = 300.0


def warm(runs: Path) -> None:
    """Start the app once and wait until the first page has all that it shows."""
    with running(runs) as server:
        end = time.monotonic() + _PATIENCE
        httpx.get(server.url, timeout=60)
        while not any(runs.glob("baselines/*/report.json")) and time.monotonic() < end:
            time.sleep(0.2)
    from workbench.session.studies import Study

    for run in runs.glob("baselines/*"):
        study = Study(run, "causes")
        if study.state != "done":
            study.make()
