"""The commands about many runs: `sweep`, `compare`, `rerun`, `rm`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import workbench
from workbench.session import processes
from workbench.session.runs import Run, all_runs, set_state

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A small model with data, as arguments."""
    folder = tmp_path_factory.mktemp("sweep")
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )
    model = workbench.open(net, example_inputs=(torch.zeros(2, 1, 8, 8),))
    model.save(folder / "net.onnx")
    images = torch.randn(64, 1, 8, 8).numpy()
    np.savez(folder / "data.npz", images=images, labels=np.arange(64) % 3)
    return [str(folder / "net.onnx"), "--data", str(folder / "data.npz"), "--fast"]


def test_a_sweep_is_a_table_and_json(asked: list[str], call: Callable[..., Any]):
    grid = ["--grid", "weights=2,8", "--grid", "edges=same"]
    code, shown, said = call("sweep", *asked, *grid, "--workers", 1)
    assert code == 0, said
    assert "weights" in shown
    assert "2 of 2" in said
    code, output, _ = call("sweep", *asked, *grid, "--workers", 1, "--json")
    found = json.loads(output)
    assert [row["settings"]["weights"] for row in found["results"]] == [2, 8]
    assert set(found["best"]) <= {row["run"] for row in found["results"]}
    assert len(all_runs()) == 2, "what was done is not done again"


def test_all_faults_of_a_sweep_are_said(asked: list[str], call: Callable[..., Any]):
    code, _, said = call("sweep", *asked, "--grid", "weights=2,99", "--grid", "edges=1")
    assert code == 2
    assert "weights=99, edges=1" in said
    assert "edges" in said
    assert "faults, and nothing was started" in said
    assert all_runs() == []
    assert call("sweep", *asked, "--grid", "weights")[0] == 2
    assert call("sweep", *asked, "--engine", "slurm")[0] == 2
    assert call("sweep", "nothing.toml")[0] == 2


def test_done_before_and_again(asked: list[str], call: Callable[..., Any]):
    line = ["quantize", *asked, "--weights", 4, "--method", "rtn"]
    assert call(*line)[0] == 0
    code, _, said = call(*line)
    assert code == 0
    assert "done before: " in said
    assert len(all_runs()) == 1
    assert call(*line, "--again")[0] == 0
    assert len(all_runs()) == 2


def test_rerun_compare_and_rm(asked: list[str], call: Callable[..., Any]):
    call("quantize", *asked, "--weights", 4, "--method", "rtn")
    (run,) = all_runs()
    assert call("rerun", run.name, "--json")[0] == 0
    names = [found.name for found in all_runs()]
    code, output, _ = call("compare", *names, "--json")
    assert code == 0
    found = json.loads(output)
    assert found["differs"] == []
    assert found["flips"][0]["flipped"] == 0
    set_state(run.files, "running")
    processes.current().save(run.files.pid)
    code, _, said = call("rm", run.name)
    assert code == 2
    assert "is running; end it first" in said
    set_state(run.files, "done")
    run.files.pid.unlink()
    code, shown, _ = call("rm", *names)
    assert code == 0
    assert shown.count("removed ") == 2
    assert "files, " in shown
    assert all_runs() == []
    assert call("compare", *names)[0] == 2


def test_report_of_one_run(asked: list[str], call: Callable[..., Any], tmp_path: Path):
    call("quantize", *asked, "--weights", 4, "--method", "rtn")
    (run,) = all_runs()
    code, output, _ = call("report", run.name, "--json")
    assert code == 0
    assert json.loads(output)["comparison"] is None
    assert json.loads(output)["runs"][0]["report"]["scores"] == Run(run.name).scores
    assert (tmp_path / "report.html").stat().st_size > 10_000
