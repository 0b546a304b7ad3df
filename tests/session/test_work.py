"""Work is known by what decides its outcome, and two processes that ask for it do it once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import workbench
from workbench.foundation.errors import RunError
from workbench.session import processes, work
from workbench.session.execute import Extent
from workbench.session.runs import Run, all_runs, remove, runs_dir, set_state
from workbench.session.store import RunFiles

QUICK = Extent(naive=False, layers=False, verify=False, latency=False)


def test_the_same_work_is_answered_by_the_finished_run(tiny: workbench.Session):
    first = tiny.quantize(4, 8, "rtn", extent=QUICK)
    written = first.files.report.stat().st_mtime_ns
    again = workbench.open(tiny.origin.value, data=tiny.data.record["path"])
    second = again.quantize(4, 8, "rtn", extent=QUICK)
    assert second.directory == first.directory
    assert first.files.report.stat().st_mtime_ns == written
    assert first.about["digest"] == second.about["digest"]
    anew = tiny.quantize(4, 8, "rtn", extent=QUICK, again=True)
    assert anew.directory != first.directory
    assert len(all_runs()) == 2


def test_a_fuller_run_answers_for_a_smaller_one_and_not_the_other_way(tiny: workbench.Session):
    full = Extent(naive=False, layers=False, verify=True, latency=False)
    small = tiny.quantize(4, 8, "rtn", extent=QUICK)
    large = tiny.quantize(4, 8, "rtn", extent=full)
    assert large.directory != small.directory
    remove(small)
    assert tiny.quantize(4, 8, "rtn", extent=QUICK).directory == large.directory
    assert not QUICK.covers(full)
    assert not QUICK.covers(Extent(False, False, False, False, examples=5))


def test_whatever_decides_the_outcome_is_in_the_digest(tiny, tiny_path, tiny_npz, tmp_path: Path):
    recipe = tiny.recipe(4, 8, "rtn")
    base = work.check(tiny, recipe, QUICK)
    copied = tmp_path / "copy.onnx"
    shutil.copy(tiny_path, copied)
    moved = workbench.open(copied, data=shutil.copy(tiny_npz, tmp_path / "copy.npz"))
    assert work.check(moved, recipe).digest == base.digest
    assert work.check(tiny, recipe).digest == base.digest
    assert work.check(tiny, recipe).name != base.name, "a report that holds more lies elsewhere"
    assert work.check(tiny, recipe.changed(seed=1)).digest != base.digest
    with np.load(tiny_npz) as stored:
        arrays = dict(stored)
    arrays["images"][0, 0, 0, 0] += 1
    changed = tmp_path / "other.npz"
    np.savez(changed, **arrays)
    assert work.check(workbench.open(tiny_path, data=changed), recipe).digest != base.digest


def test_arrays_count_by_what_they_hold(tiny_path: Path, tiny_npz: Path):
    with np.load(tiny_npz) as stored:
        images, labels = stored["images"], stored["labels"]
    one, same, other = (
        workbench.open(tiny_path, data=(values, labels)) for values in (images, images, images + 1)
    )
    digests = [work.check(s, s.recipe(4, 8, "rtn")).digest for s in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]
    run = one.quantize(4, 8, "rtn", extent=QUICK)
    anew = run.rerun()
    remove(run)
    assert anew.about["digest"] == run.about["digest"]
    assert anew.session.data.size("test") == one.data.size("test")


def test_a_changed_version_does_the_work_again(tiny, monkeypatch: pytest.MonkeyPatch):
    before = work.check(tiny, tiny.recipe(4, 8, "rtn")).digest
    monkeypatch.setattr(work, "code", lambda: "another")
    assert work.check(tiny, tiny.recipe(4, 8, "rtn")).digest != before


def test_what_was_learned_elsewhere_stands_for_no_recipe(tiny: workbench.Session):
    training = tiny.trainable(4, 8, "lsq", epochs=1)
    own = training.finish(extent=QUICK)
    assert own.about["digest"] == ""
    assert tiny.work(training.recipe, QUICK).found() is None


def test_a_stopped_run_is_gone_on_with(tiny: workbench.Session):
    files = tiny.place(tiny.recipe(4, 8, "rtn"), extent=QUICK)
    assert Run(files.directory).state == "stopped"
    assert tiny.quantize(4, 8, "rtn", extent=QUICK).directory == files.directory


def test_rerun_changes_what_is_asked(tiny: workbench.Session):
    run = tiny.quantize(4, 8, "rtn", extent=QUICK)
    same, other = run.rerun(), run.rerun(seed=7)
    assert same.directory != run.directory
    assert same.scores == run.scores
    assert other.recipe.seed == 7


def test_remove_says_what_it_removed_and_spares_a_running_one(tiny: workbench.Session):
    run = tiny.quantize(4, 8, "rtn", extent=QUICK)
    held = [path for path in run.directory.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in held)
    set_state(run.files, "running")
    processes.current().save(run.files.pid)
    with pytest.raises(RunError, match="is running; end it first with: workbench stop"):
        remove(run)
    set_state(run.files, "done")
    run.files.pid.unlink()
    gone = remove(run)
    assert gone.files == len(held)
    assert abs(gone.bytes - size) < 100  # run.json was written anew
    assert list(runs_dir().iterdir()) == []
    with pytest.raises(RunError, match="is gone"):
        run.files.update_run(state="done")


def test_what_a_killed_maker_left_is_swept_up(tiny: workbench.Session):
    store = runs_dir()
    dead, alive = processes.Process(os.getpid(), 12345, False), processes.current()
    for process in (dead, alive):
        (store / f".making-{process.pid}-{process.born}-abc-run").mkdir(parents=True)
    tiny.place(tiny.recipe(4, 8, "rtn"), extent=QUICK)
    assert [p.name for p in store.glob(".making-*")] == [
        f".making-{alive.pid}-{alive.born}-abc-run"
    ]
    assert len(all_runs()) == 1


PLACE = """
import sys, time
import workbench
from workbench.session.execute import Extent
from workbench.session.jobs import Job
from workbench.foundation.errors import RunError
model, data, start = sys.argv[1], sys.argv[2], float(sys.argv[3])
session = workbench.open(model, data=data)
asked = session.work(session.recipe(4, 8, "rtn"), Extent(False, False, False, False))
time.sleep(max(0.0, start - time.time()))
job = Job(asked.place().directory)
try:
    job.start()
    print("started", job.directory)
except RunError as error:
    print("refused", job.directory)
job.wait(60)
assert job.state == "done", job.progress()
"""


@pytest.mark.slow
def test_two_processes_that_ask_for_the_same_make_one_run(tiny_path, tiny_npz):
    import time

    start = str(time.time() + 12)
    command = [sys.executable, "-c", PLACE, str(tiny_path), str(tiny_npz), start]
    home = str(Path(workbench.__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": home}
    makers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    said = [maker.communicate(timeout=120)[0].split() for maker in makers]
    assert all(maker.returncode == 0 for maker in makers)
    assert sorted(words[0] for words in said) == ["refused", "refused", "started"]
    assert len({words[1] for words in said}) == 1
    (run,) = all_runs()
    done = [e for e in run.events() if e.get("text", "").startswith("wrote")]
    assert len(done) == 1


UPDATE = """
import sys
from pathlib import Path
from workbench.session.store import RunFiles
files = RunFiles(Path(sys.argv[1]))
for index in range(200):
    with files.locked():
        files.change(count=files.read_run()["count"] + 1)
"""


def test_changes_of_two_processes_are_not_lost(tmp_path: Path):
    files = RunFiles(tmp_path)
    about = {"name": "x", "state": "done", "changed": 0, "source": {}, "sha256": "", "count": 0}
    files.run.write_text(json.dumps(about))
    home = str(Path(workbench.__file__).resolve().parents[1])
    command = [sys.executable, "-c", UPDATE, str(tmp_path)]
    both = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": home}) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert files.read_run()["count"] == 400
