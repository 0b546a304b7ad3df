"""Jobs: started, watched, stopped, found again, resumed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

import workbench
from workbench.foundation.errors import RunError
from workbench.session import processes
from workbench.session.execute import Extent
from workbench.session.jobs import Job
from workbench.session.runs import Run, set_state
from workbench.session.store import Checkpoint

QUICK = Extent(naive=False, layers=False, verify=False, latency=False)
PATIENCE = 120.0


def wait_for(job: Job, path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert job.state == "running", (job.progress(), job._files.log.read_text())
        assert time.monotonic() < end
        time.sleep(0.02)


def assert_same_weights(one: Run, other: Run) -> None:
    """Bit for bit."""
    first, second = (Checkpoint.read(run.files.state) for run in (one, other))
    assert first is not None
    assert second is not None
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in second)


@pytest.fixture
def long_recipe(tiny: workbench.Session) -> workbench.Recipe:
    return tiny.recipe(3, 8, "adaround", iterations=600)


@pytest.mark.slow
def test_stop_then_resume_gives_what_an_undisturbed_run_gives(tiny, long_recipe):
    job = tiny.start(long_recipe, extent=QUICK)
    assert job.state == "running"
    with pytest.raises(RunError, match="is running; there is nothing to start"):
        job.start()
    wait_for(job, job.run.files.checkpoint)
    again = Job(job.directory)  # as a page that was reloaded
    assert again.progress()["pid"] == job.progress()["pid"]
    started = time.monotonic()
    assert again.stop() == "stopped"
    assert time.monotonic() - started < 5
    assert job.state == "stopped"
    leftovers = [p.name for p in job.directory.iterdir() if p.name.startswith(".")]
    assert leftovers == []
    assert not job.run.files.model.exists()
    json.loads(job.run.files.progress.read_text())
    assert job.resume().wait(PATIENCE) == "done", job._files.log.read_text()
    undisturbed = tiny.quantize(recipe=long_recipe, extent=QUICK, again=True)
    assert_same_weights(job.run, undisturbed)
    assert job.progress()["fraction"] == 1.0


@pytest.mark.slow
def test_a_killed_job_can_be_resumed(tiny, long_recipe):
    job = tiny.start(long_recipe, extent=QUICK)
    wait_for(job, job.run.files.checkpoint)
    os.kill(job.progress()["pid"], signal.SIGKILL)
    assert job.wait(10) == "stopped"
    assert Job(job.run.name).resume().wait(PATIENCE) == "done"
    assert Run(job.directory).scores["learned"]["examples"] > 0


@pytest.mark.slow
def test_limits_of_a_job_are_named(tiny, long_recipe):
    job = tiny.start(long_recipe.changed(stages=long_recipe.stages * 40), extent=QUICK, seconds=4)
    assert job.wait(PATIENCE) == "failed"
    assert job.run.message == "the job passed its time limit; resume it with a longer one"


def test_a_run_whose_process_is_gone_is_stopped(tiny: workbench.Session):
    files = tiny.prepare(tiny.recipe())
    set_state(files, "running")
    gone = processes.Process(os.getpid(), 12345, True)  # this number, but born at another time
    gone.save(files.pid)
    job = Job(files.directory)
    assert job.state == "stopped"
    assert job.stop() == "stopped"
    assert not files.pid.exists()


def test_a_run_in_this_process_is_not_killed(tiny: workbench.Session):
    files = tiny.prepare(tiny.recipe())
    set_state(files, "running")
    processes.current().save(files.pid)
    job = Job(files.directory)
    assert job.state == "running"
    with pytest.raises(RunError, match="made inside another program; interrupt it there"):
        job.stop()


def test_processes_are_told_apart(tmp_path: Path):
    process = processes.start(["-c", "import time; time.sleep(60)"], tmp_path / "log")
    process.save(tmp_path / "pid.json")
    assert processes.load(tmp_path / "pid.json") == process
    assert process.alive()
    assert not processes.Process(process.pid, process.born + 1, True).alive()
    process.end()
    assert not process.alive()
    process.end()


def test_work_in_the_background_gives_way(tmp_path: Path):
    process = processes.start(["-c", "import time; time.sleep(60)"], tmp_path / "log")
    try:
        below = os.getpriority(os.PRIO_PROCESS, process.pid) - os.getpriority(os.PRIO_PROCESS, 0)
        assert below == 5
    finally:
        process.end()


def test_a_stubborn_process_is_killed(tmp_path: Path):
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(60)"
    process = processes.start(["-c", code], tmp_path / "log")
    while "up" not in (tmp_path / "log").read_text():
        time.sleep(0.02)
    process.end(patience=0.2)
    assert not process.alive()


def test_there_is_no_such_run():
    with pytest.raises(RunError, match="there is no run 'nothing'; list them with: workbench runs"):
        Job("nothing")


@pytest.mark.slow
def test_training_that_was_killed_ends_with_the_same_weights(tiny):
    """SIGKILL after a checkpoint: what came after it is learned again, bit for bit."""
    course = {"epochs": 60, "learning_rate": 1e-3, "batch_size": 4}
    recipe = tiny.recipe(3, 4, "lsq", **course)
    job = tiny.start(recipe, extent=QUICK)
    wait_for(job, job.run.files.checkpoint)
    os.kill(job.progress()["pid"], signal.SIGKILL)
    assert job.wait(10) == "stopped"
    assert not job.run.files.state.exists(), "killed too late to show anything"
    assert job.resume().wait(PATIENCE) == "done", job._files.log.read_text()
    undisturbed = tiny.start(recipe, extent=QUICK, again=True)  # a job too: as many threads
    assert undisturbed.wait(PATIENCE) == "done", undisturbed._files.log.read_text()
    assert_same_weights(job.run, undisturbed.run)
