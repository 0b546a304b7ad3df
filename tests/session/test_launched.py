"""Processes that `accelerate launch` starts: two on the CPU make one run; none waits for ever."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.methods.threads import Thread, together
from workbench.cli import main
from workbench.session import processes
from workbench.session.launched import Shared
from workbench.session.runs import Run
from workbench.session.store import Checkpoint

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 240.0
MODEL = "digits-gru"
COURSE = ["--method", "lsq", "--option", "epochs=3", "--option", "labels=1"]
FEW = ["--weights", "3", "--training", "600", "--calibration", "128", "--fast"]

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("accelerate") is None,
        reason="accelerate is not installed: pip install 'quantization-workbench[accelerate]'",
    ),
    pytest.mark.xdist_group("launched"),  # its run is made once
]


def environment(**more: str) -> dict[str, str]:
    """On the CPU, over the loopback, with this checkout."""
    own = {
        "ACCELERATE_USE_CPU": "true",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    return {**os.environ, **own, **more}


def launch(
    arguments: Sequence[str], folder: Path, count: int = 2, precision: str = "no"
) -> subprocess.Popen[str]:
    """`accelerate launch` with `count` processes."""
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    command += ["--multi_gpu"] if count > 1 else ["--cpu"]
    options = {"num_processes": count, "num_machines": 1, "dynamo_backend": "no"}
    options |= {"mixed_precision": precision, "main_process_port": 0}
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    return subprocess.Popen(
        [*command, "-m", "workbench", *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """(standard output, standard error), when it has ended."""
    try:
        return process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.terminate()  # the launcher ends its own
        raise


def weights(run: Path) -> dict[str, torch.Tensor]:
    found = Checkpoint.read(run / "state.safetensors")
    assert found is not None
    return found


def farthest(first: Path, second: Path) -> float:
    """The largest distance of what two runs learned, as a share of each tensor's own size."""
    ours, theirs = weights(first), weights(second)
    assert set(ours) == set(theirs)
    gaps = ((ours[k] - theirs[k]).norm() / theirs[k].norm().clamp(min=1e-6) for k in ours)
    return max(map(float, gaps))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A run that two processes made, and what was printed of it."""
    folder = tmp_path_factory.mktemp("two")
    given = ["quantize", MODEL, *FEW, *COURSE, "--out", "run", "--json"]
    told, errors = finish(launch(given, folder))
    assert told, errors
    return folder / "run", json.loads(told)  # by one process alone, or it would be no JSON


@pytest.mark.slow
def test_two_processes_make_the_run_that_one_makes(two: tuple[Path, dict], tmp_path: Path) -> None:
    run, told = two
    alone = tmp_path / "alone"
    assert main(["quantize", MODEL, *FEW, *COURSE, "--out", str(alone), "--json"]) == 0
    assert farthest(run, alone) < 1e-2
    scores = Run(alone).scores
    assert told["learned"] == pytest.approx(scores["learned"]["score"], abs=0.2)
    assert told["onnxruntime"] == pytest.approx(told["learned"], abs=0.05)
    both = [[e["values"]["loss"] for e in events(r) if e["kind"] == "layer"] for r in (run, alone)]
    assert both[0] == pytest.approx(both[1], rel=1e-2)
    assert "2 processes share each batch" in [e.get("text") for e in events(run)]


@pytest.mark.slow
def test_the_launcher_sets_the_precision(tmp_path: Path) -> None:
    given = ["quantize", MODEL, *FEW, "--method", "lsq", "--option", "epochs=1"]
    _, errors = finish(launch([*given, "--out", "low"], tmp_path, count=1, precision="bf16"))
    low, plain = tmp_path / "low", tmp_path / "plain"
    assert Run(low).state == "done", errors
    assert main([*given, "--option", "precision=bfloat16", "--out", str(plain)]) == 0
    assert farthest(low, plain) == 0.0
    assert "the forward pass is in bfloat16, as was launched" in [
        e.get("text") for e in events(low)
    ]


def events(run: Path) -> list[dict]:
    """Of the training."""
    return [event for event in Run(run).events() if event.get("method") == "lsq"]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_others_and_two_or_one_resume_the_run(
    two: tuple[Path, dict], tmp_path: Path, victim: int
) -> None:
    given = ["quantize", MODEL, *FEW, *COURSE, "--out", "run", "--json"]
    process = launch(given, tmp_path)
    run = tmp_path / "run"
    end = time.monotonic() + PATIENCE
    while not (run / "checkpoint.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    lead = processes.load(run / "pid.json")
    assert lead is not None
    os.kill(lead.pid if victim == 0 else other_than(lead.pid, process.pid), signal.SIGKILL)
    killed = time.monotonic()
    _, errors = finish(process)
    assert time.monotonic() - killed < 60, errors
    assert process.returncode != 0
    assert Run(run).state in ("stopped", "failed")
    assert not (run / "report.json").exists()
    if victim == 0:
        _, errors = finish(launch(["resume", "run"], tmp_path))
        assert Run(run).state == "done", errors
        assert farthest(run, two[0]) == 0.0
    else:
        assert main(["resume", str(run)]) == 0
        assert farthest(run, two[0]) < 1e-2


def other_than(pid: int, parent: int) -> int:
    """The other process that a launcher started."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    (other,) = (int(child) for child in children if int(child) != pid)
    return other


WAITING = """
import os, sys, time, torch
from workbench.foundation.errors import RunError
from workbench.session.launched import launched
try:
    with launched(patience=4) as together:
        print(together.totals([together.rank + 1.0, 0.5]), together.agreed(together.rank + 7))
        if together.rank and sys.argv[1] == "dies":
            os._exit(3)
        if together.rank:
            time.sleep(20)
        together.total(torch.ones(1))
except RunError as error:
    sys.exit(str(error))
"""


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["dies", "hangs", "never came"])
def test_nobody_waits_for_ever(what: str) -> None:
    port, count = free_port(), 1 if what == "never came" else 2
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    common |= {"ACCELERATE_MIXED_PRECISION": "no"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WAITING, what],
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **common),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    told, errors = started[0].communicate(timeout=60)
    assert started[0].returncode == 1
    assert "another process of this training has ended, or did not answer for 4 s" in errors
    assert told == ("" if what == "never came" else "[3.0, 1.0] 7\n")
    for process in started[1:]:
        process.kill()
        process.communicate()


def test_the_first_saves_and_all_go_on_from_what_it_finds(tmp_path: Path) -> None:
    def work(process: Thread) -> tuple:
        path = tmp_path / f"{process.rank}.safetensors"
        checkpoint = Shared(Checkpoint(path, "key"), process)
        fresh = checkpoint.load()
        checkpoint.save({"x": torch.full((2,), float(process.rank + 5))}, process.rank + 1)
        found = checkpoint.load()
        assert found is not None
        return fresh, found[0]["x"].tolist(), found[1]

    assert together(2, work) == [(None, [5.0, 5.0], 1)] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["0.safetensors"]


def failing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    return " ".join(capsys.readouterr().err.split())


def test_processes_that_were_not_started_are_missed(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    said = failing(["quantize", MODEL, "--out", str(tmp_path / "run")], capsys)
    assert "asked for several processes and started one" in said
    assert "give --multi_gpu instead of --cpu" in said
    assert not (tmp_path / "run").exists()


def test_a_job_of_its_own_is_refused(monkeypatch, capsys) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    said = failing(["quantize", MODEL, "--background"], capsys)
    assert "--background and 'accelerate launch' do not go together" in said


def test_parts_of_a_network_are_refused(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    said = failing(["quantize", MODEL, "--out", str(tmp_path / "run")], capsys)
    assert "launched with --use_fsdp, and here every process holds the whole network" in said


def test_half_precision_that_needs_scaling_is_refused(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    said = failing(["quantize", MODEL, "--out", str(tmp_path / "run")], capsys)
    assert "--mixed_precision was 'fp16'; give 'no' or 'bf16'" in said
