"""`workbench inspect` and `--transform`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import workbench
from workbench.cli import main

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two convolutions around a norm and a ReLU6, with data beside them."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 3, 6), nn.Flatten()
    )
    module[1].running_var.uniform_(0.01, 4)
    path = tmp_path / "net.onnx"
    workbench.open(module, example_inputs=(torch.zeros(1, 1, 8, 8),)).save(path)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((40, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", images=images, labels=rng.integers(0, 3, 40))
    return path


def test_tables_appear_as_asked(model: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", str(model)]) == 0
    plain = capsys.readouterr().out
    assert "BatchNormalization" in plain
    assert "Blocks" not in plain
    assert "Passes" not in plain
    assert main(["inspect", str(model), "--blocks", "--passes"]) == 0
    full = capsys.readouterr().out
    assert "Blocks" in full
    assert "batch norms folded" in full


def test_proof_and_transformations_as_json(model: Path, capsys: pytest.CaptureFixture[str]):
    chosen = ["--transform", "relu6-to-relu", "--transform", "equalize"]
    assert main(["inspect", str(model), "--prove", *chosen, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    steps = {step["name"]: step for step in found["passes"]}
    assert 0 < steps["batch norms folded"]["max_difference"] < 1e-5
    assert steps["batch norms folded"]["measures"]["nodes"][0] == found["nodes"] + 1
    assert steps["pairs equalized"]["max_difference"] < 1e-5
    assert [block["layers"] for block in found["blocks"]] == [["0"], ["3"]]


def test_an_unknown_operator_is_in_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from onnx import TensorProto, helper, save

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in ("x", "y")]
    nodes = [
        helper.make_node("Relu", ["x"], ["h"], name="fine"),
        helper.make_node("Wobble", ["h"], ["y"], name="odd", domain="strange"),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("strange", 1)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "odd.onnx")
    assert main(["inspect", "odd.onnx"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no: 'odd'" in captured.err
    assert "strange.Wobble" in captured.err


def test_a_run_says_what_the_transformation_changed(
    model: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["--data", "data.npz", "--method", "rtn", "--weights", "8", "--fast"]
    assert main(["quantize", str(model), *arguments, "--transform", "equalize"]) == 0
    assert "pairs equalized: 1; largest difference of the float output" in capsys.readouterr().out
    assert main(["quantize", str(model), *arguments, "--transform", "equalise"]) == 2
    assert "did you mean 'equalize'?" in capsys.readouterr().err
