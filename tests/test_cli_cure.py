"""`workbench cure`: a list of causes and cures, one applied, and what cannot be combined."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import workbench
from tests.session.conftest import SIDE, examples, network
from workbench.cli import main
from workbench.session.execute import Extent


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a tiny network with 2-bit weights."""
    monkeypatch.chdir(tmp_path)
    inputs = (torch.zeros(2, 1, SIDE, SIDE),)
    session = workbench.open(network(), example_inputs=inputs, data=examples())
    extent = Extent(False, False, False, False)
    made = session.quantize(
        2, 8, "rtn", edges=None, calibration_examples=32, out=tmp_path / "run", extent=extent
    )
    return str(made.directory)


def test_listed_then_applied(run: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["cure", run, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["causes"][0]["sentence"]
    number = next(cure["number"] for cure in listed["cures"] if cure["name"] == "8-bit")
    out = tmp_path / "cured"
    assert main(["cure", run, "--layer", listed["layer"], "--apply", str(number), "--json",
                 "--out", str(out)]) == 0  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert told["steps"][0]["kept"]
    assert told["run"] == str(out)
    assert workbench.Recipe.load(out / "recipe.toml").overrides
    assert main(["cure", str(out), "--layer", "nothing"]) == 2


@pytest.mark.parametrize("given", [["--auto", "--apply", "1"], ["--score", "90"]])
def test_what_does_not_go_together(
    run: str, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cure", run, *given]) == 2
    assert "--auto" in capsys.readouterr().err
