"""Run files: replaced in one step, readable at any moment, tidied after a kill."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from workbench.foundation.errors import RunError
from workbench.methods.base import Event
from workbench.session.execute import reached
from workbench.session.progress import Clock, spent
from workbench.session.recipe import Recipe, Stage
from workbench.session.store import (
    Checkpoint,
    RunFiles,
    finite,
    read_json,
    replacing,
    write_bytes,
    write_json,
)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "file.json"
    write_bytes(path, b"old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_readers_see_whole_files_only(tmp_path: Path):
    path = tmp_path / "progress.json"
    write_json(path, {"fill": "x" * 20_000})
    broken: list[Exception] = []

    def read() -> None:
        for _ in range(300):
            try:
                json.loads(path.read_text())
            except ValueError as error:
                broken.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for index in range(100):
        write_json(path, {"fill": str(index % 10) * 20_000}, durable=False)
    reader.join()
    assert not broken
    assert leftovers(tmp_path) == []


def test_json_has_no_infinity(tmp_path: Path):
    assert finite({"a": (1.0, math.inf), "b": math.nan}) == {"a": [1.0, None], "b": None}
    write_json(tmp_path / "x.json", {"loss": math.nan})
    assert read_json(tmp_path / "x.json", "is wrong") == {"loss": None}


def test_events_are_appended_and_half_a_line_is_not_read(tmp_path: Path):
    files = RunFiles(tmp_path)
    assert files.read_events() == []
    for step in range(3):
        files.append_event({"step": step, "loss": math.inf})
    with files.events.open("ab") as stream:
        stream.write(b'{"step": 3, "lo')
    assert [event["step"] for event in files.read_events()] == [0, 1, 2]
    assert [event["step"] for event in files.read_events(2)] == [2]
    files.tidy()
    files.append_event({"step": 3})
    assert [event["step"] for event in files.read_events()] == [0, 1, 2, 3]


def test_tidying_removes_what_a_kill_left(tmp_path: Path):
    files = RunFiles(tmp_path)
    (tmp_path / ".partial-1-2-model.onnx").write_bytes(b"half")
    files.scratch.mkdir()
    (files.scratch / "1.pt").write_bytes(b"x")
    files.tidy()
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_belong_to_their_key(tmp_path: Path):
    path = tmp_path / "checkpoint.safetensors"
    checkpoint = Checkpoint(path, "recipe/0")
    assert checkpoint.load() is None
    tensors = {"a/b": torch.randn(3, 2), "flag": torch.tensor([True]), "n": torch.tensor(4)}
    checkpoint.save({**tensors, "view": torch.arange(6.0).reshape(2, 3).T}, 7)
    found = checkpoint.load()
    assert found is not None
    assert found[1] == 7
    assert all(torch.equal(found[0][name], value) for name, value in tensors.items())
    assert Checkpoint(path, "recipe/1").load() is None
    assert set(Checkpoint.read(path) or {}) == {"a/b", "flag", "n", "view"}


def test_a_damaged_checkpoint_says_what_to_do(tmp_path: Path):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"\x08\x00\x00")
    with pytest.raises(RunError, match=r"is damaged .* delete it to start this run again"):
        Checkpoint(path, "key").load()


def test_what_is_no_run_is_said_so(tmp_path: Path):
    with pytest.raises(RunError, match="holds no run"):
        RunFiles(tmp_path).read_run()
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        RunFiles(tmp_path).read_run()
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(RunError, match="not a run's file"):
        RunFiles(tmp_path).read_run()


def test_the_clock_only_moves_forward(tmp_path: Path):
    clock = Clock(RunFiles(tmp_path), ["learn", "export", "scores"], stages=2)
    steps = [("learn", 0, 1, 2), ("learn", 0, 2, 2), ("learn", 1, 1, 1), ("export", 2, 0, 1)]
    steps += [("scores", 2, 5, 10), ("scores", 2, 10, 10)]
    found = [clock.at(*step, "text").fraction for step in steps]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(1.0)
    assert clock.done().fraction == 1.0
    assert RunFiles(tmp_path).read_progress()["fraction"] == 1.0


def test_a_resumed_run_is_timed_from_where_it_began(tmp_path: Path):
    clock = Clock(RunFiles(tmp_path), ["learn"], stages=1)
    assert clock.at("learn", 0, 90, 100, "").eta_seconds is None
    later = clock.at("learn", 0, 95, 100, "")
    assert later.eta_seconds is not None
    assert later.eta_seconds == pytest.approx(later.seconds, rel=1e-6)


def test_the_seconds_of_a_stopped_process_count(tmp_path: Path):
    files = RunFiles(tmp_path)
    assert spent(files) == 0.0
    files.progress.write_text('{"fraction": 0.5, "seconds": 100.0}', encoding="utf-8")
    clock = Clock(files, ["learn"], stages=1)
    assert clock.at("learn", 0, 50, 100, "").seconds == pytest.approx(100, abs=5)
    later = clock.at("learn", 0, 60, 100, "")
    assert later.eta_seconds is not None
    assert later.eta_seconds < 50  # the pace of this process, not of the one before
    files.progress.write_text('{"fract', encoding="utf-8")
    assert spent(files) == 0.0


def test_what_takes_minutes_has_most_of_the_run(tmp_path: Path):
    phases = ["learn", "export", "scores", "layers", "verify", "latency"]
    quick, slow = (
        Clock(RunFiles(tmp_path), phases, stages=1, minutes=minutes) for minutes in (False, True)
    )
    assert quick.at("learn", 0, 1, 1, "").fraction == pytest.approx(0.34)
    assert slow.at("learn", 0, 1, 1, "").fraction > 0.8


def test_ranges_that_a_method_takes_first_are_not_its_learning():
    recipe = Recipe(stages=(Stage(method="lsq"), Stage(method="rtn")))
    ranges = Event("step", method="rtn", stage=0, step=565, total=565)
    assert reached(recipe, "learn", ranges) == 0
    assert reached(recipe, "learn", replace(ranges, method="lsq", step=3)) == 3
    assert reached(recipe, "learn", replace(ranges, stage=1)) == 565
    assert reached(recipe, "scores", replace(ranges, method="", stage=2, step=7)) == 7
