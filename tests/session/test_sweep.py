"""Sweeps: whatever is killed, what is finished stays, and the rest comes to the same results."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench
from workbench.session import processes
from workbench.session.crew import Budget, Crew, budget
from workbench.session.execute import Extent
from workbench.session.runs import Run, all_runs, runs_dir
from workbench.session.sweep import build, local

FAST = Extent(layers=False, verify=False, latency=False)
GRID = {"weights": [2, 3, 4, 5], "activations": [8, "float"], "method": ["rtn", "gram", "gptq"]}
BASE = {"recipe": workbench.Recipe(edges=None)}
PATIENCE = 240.0  # a busy machine; on a quiet one it takes seconds


def outcome(run: Run) -> tuple[object, ...]:
    """What must not depend on how a run was made."""
    scores = {name: record["score"] for name, record in run.scores.items()}
    noise = {name: record["sqnr_db"] for name, record in run.scores.items()}
    return run.recipe.toml(), scores, noise, run.report()["bytes"]


def finished() -> dict[str, tuple[int, int]]:
    """Inode and time of the reports of the runs that are done."""
    done = [run for run in all_runs() if run.about["state"] == "done"]
    stats = {run.name: run.files.report.stat() for run in done}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def makers() -> Iterator[processes.Process]:
    """The processes that are making runs."""
    for path in runs_dir().glob("[!.]*/pid.json"):
        try:
            process = processes.load(path)
        except (OSError, ValueError, workbench.session.runs.RunError):
            continue
        if process is not None and process.alive():
            yield process


def wait_until(what, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def command(tiny_path: Path, tiny_npz: Path, tmp_path: Path) -> list[str]:
    """A sweep of 24 recipes on the tiny model."""
    text = 'fast = true\n[recipe]\nedges = "same"\n[grid]\n'
    text += "".join(f"{key} = {json.dumps(values)}\n" for key, values in GRID.items())
    file = tmp_path / "sweep.toml"
    file.write_text(f'model = "{tiny_path}"\ndata = "{tiny_npz}"\n{text}')
    return [sys.executable, "-m", "workbench", "sweep", str(file), "--workers", "2", "--json"]


def start(command: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(workbench.__file__).resolve().parents[1])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_survives_kills_of_a_worker_and_of_its_driver(
    tiny, command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    driver = start(command)
    wait_until(lambda: len(finished()) >= 2)
    seen: list[processes.Process] = []
    wait_until(lambda: seen.extend(makers()) or seen)  # a run may end between two looks
    os.kill(seen[0].pid, signal.SIGKILL)
    wait_until(lambda: len(finished()) >= 8)
    working = list(makers())
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    before = finished()
    assert 8 <= len(before) < 24

    again = start(command)
    said, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0
    records = json.loads(said)["results"]
    after = finished()
    assert len(records) == len(after) == len(all_runs()) == 24
    assert all(after[name] == stamp for name, stamp in before.items()), "made twice"
    wait_until(lambda: not any(process.alive() for process in working), 20)
    for run in all_runs():
        written = [e for e in run.events() if e.get("text", "").startswith("wrote")]
        assert len(written) == 1 or run.name not in before

    found = {outcome(Run(record["directory"]))[0]: record for record in records}
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "undisturbed"))
    for work in build(tiny, GRID, BASE, FAST).works:
        undisturbed = tiny.quantize(recipe=work.recipe, extent=FAST)
        mine = found[undisturbed.recipe.toml()]
        assert outcome(Run(mine["directory"])) == outcome(undisturbed)
    assert sum(record["pareto"] for record in records) >= 1


def test_results_are_rows_with_settings(tiny: workbench.Session):
    seen = []
    grid = {"weights": [2, 8], "method": ["rtn"]}
    results = tiny.sweep(grid, BASE, workers=1, extent=FAST, progress=seen.append)
    assert [row["settings"]["weights"] for row in results.records] == [2, 8]
    assert all(row["state"] == "done" and row["bytes"] > 0 for row in results.records)
    assert list(results.table["weights"]) == [2, 8]
    assert results.best
    assert not results.failed
    rows = [place.row for place in seen if place.row]
    assert [row["state"] for row in rows] == ["done", "done"]
    assert seen[-1].done == seen[-1].total == 2
    assert seen[-1].fraction == 1.0
    stamps = finished()
    assert tiny.sweep(grid, BASE, workers=1, extent=FAST).records == results.records
    assert finished() == stamps


def test_a_run_that_keeps_dying_is_given_up(tiny, monkeypatch: pytest.MonkeyPatch):
    """Each of its processes dies at once: two attempts, then a row that says so."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    found = build(tiny, {"weights": [4]}, BASE, FAST)
    (row,) = local(found, Budget(1, 4.0), retries=1).records
    assert row["state"] == "stopped"
    assert "killed 2 times" in row["message"]
    assert row["score"] is None
    assert not row["pareto"]


@pytest.mark.slow
def test_a_run_too_large_for_its_share_is_made_alone(tiny: workbench.Session):
    from workbench.session.worker import NEEDS_MORE

    found = build(tiny, {"weights": [4]}, BASE, FAST)
    (small,) = found.run(Crew(Budget(1, 0.2))).records
    assert small["state"] in ("failed", "stopped")
    (row,) = local(found, Budget(20, 4.0)).records
    assert row["state"] == "done" or NEEDS_MORE not in row["message"]


def test_budgets():
    assert budget(3, 6.0).each_gib == 2.0
    assert budget(3, 6.0).alone() == Budget(1, 6.0)
    assert budget().workers >= 1
    with pytest.raises(workbench.session.runs.RunError, match="memory was -1"):
        budget(1, -1)
