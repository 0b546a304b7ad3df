"""`workbench allocate`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import workbench
from workbench.cli import main
from workbench.cli.allocate import bytes_of
from workbench.foundation.errors import RecipeError

FAST = ["--examples", "16", "--judged", "16", "--edges", "same"]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments that open a tiny model with data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3))
    path = tmp_path / "net.onnx"
    workbench.open(module, example_inputs=(torch.zeros(1, 1, 8, 8),)).save(path)
    images = np.random.default_rng(0).standard_normal((40, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", images=images)
    return [str(path), "--data", str(tmp_path / "data.npz")]


def test_json_is_all_there_is_and_the_recipe_is_written(model, tmp_path, capfd) -> None:
    out = tmp_path / "recipe.toml"
    arguments = ["allocate", *model, *FAST, "--average-bits", "3", "--json", "--out", str(out)]
    assert main(arguments) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["chosen"]["costs"]["average_bits"] <= 3
    assert found["files"] == [str(out)]
    recipe = workbench.Recipe.load(out)
    assert recipe.toml() == found["recipe"]
    assert recipe.stages[0].method == "gram"


def test_a_sweep_writes_a_recipe_for_each_point_and_a_picture(model, tmp_path, capsys) -> None:
    out, picture = tmp_path / "r.toml", tmp_path / "p.svg"
    sweep = ["--pareto", "4", "--out", str(out), "--figure", str(picture), "--then", "rtn"]
    assert main(["allocate", *model, *FAST, *sweep]) == 0
    text = capsys.readouterr().out
    assert "point 1" in text
    assert "uniform 4" in text
    points = sorted(tmp_path.glob("r-point-*.toml"))
    assert points
    assert workbench.Recipe.load(points[0]).stages[0].method == "rtn"
    assert picture.read_text(encoding="utf-8").lstrip().startswith("<?xml")


def test_what_cannot_be_kept_is_one_sentence(model, capsys) -> None:
    assert main(["allocate", *model, *FAST, "--size", "1kB", "--pin", "nothing=8"]) == 2
    assert "matches no layer" in capsys.readouterr().err
    assert main(["allocate", *model, *FAST, "--size", "10B"]) == 2
    assert "least that a choice can cost" in capsys.readouterr().err
    assert main(["allocate", *model, "--size", "big"]) == 2
    assert "0.5MB" in capsys.readouterr().err


def test_sizes_in_words() -> None:
    assert bytes_of("0.5MB", "--size") == 500_000
    assert bytes_of("2 KiB", "--size") == 2048
    assert bytes_of("100", "--size") == 100
    with pytest.raises(RecipeError, match="such as 0"):
        bytes_of("half", "--size")
