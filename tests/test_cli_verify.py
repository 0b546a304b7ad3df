"""`workbench verify` on files of any tool, and `workbench doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.deploy import saturating
from workbench.cli import main
from workbench.deploy import cures, verify


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """float.onnx, quantized.onnx and data.npz."""
    made = tmp_path_factory.mktemp("files")
    saturating.files(made)
    x = saturating.data(40).numpy()
    np.savez(made / "data.npz", x=x, labels=np.arange(40) % saturating.WIDTH)
    return made


@pytest.fixture
def old_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Default int8 kernels saturate."""
    monkeypatch.setattr(verify, "open_session", saturating.open_session)
    monkeypatch.setattr(cures, "open_session", saturating.open_session)


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def files(folder: Path) -> list[Any]:
    return [folder / "float.onnx", folder / "quantized.onnx", "--data", folder / "data.npz"]


@pytest.mark.usefixtures("old_processor")
def test_a_file_of_another_tool_is_diagnosed(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, output, _ = call(capsys, "verify", *files(folder), "--examples", 16)
    assert code == 3
    text = " ".join(output.split())
    assert "cause: saturating int8 kernels of this processor" in text
    assert "(as it is)" in text
    for name in ("first", "second", "exact-kernels", "7-bit", "fitted", "uint8-weights"):
        assert name in text


@pytest.mark.usefixtures("old_processor")
def test_a_cure_is_applied(folder, capsys, tmp_path):
    out = tmp_path / "cured.onnx"
    given = [*files(folder), "--no-prices", "--apply", "fitted", "--out", out, "--json"]
    code, output, _ = call(capsys, "verify", *given)
    record = json.loads(output)
    assert code == 0
    assert record["applied"] == {"path": str(out), "config": {}, "layers": ["first", "second"]}
    assert record["price"] is None
    given = [folder / "float.onnx", out, "--data", folder / "data.npz", "--no-prices"]
    assert call(capsys, "verify", *given)[0] == 0


def test_all_layers_are_cured_where_none_departs_here(folder, capsys, tmp_path):
    out = tmp_path / "cured.onnx"
    given = [*files(folder), "--no-prices", "--apply", "7-bit", "--out", out]
    code, _, errors = call(capsys, "verify", *given)
    assert code == 0
    assert "with new weight codes in 2 layers" in " ".join(errors.split())
    assert onnx.load(out).metadata_props[-1].key == "workbench.cure"


def test_time_by_node(folder, capsys):
    given = [*files(folder), "--no-prices", "--latency", "--json", "--examples", 4]
    record = json.loads(call(capsys, "verify", *given)[1])
    names = [node["name"] for node in record["latency"]["nodes"]]
    assert {"first", "second"} <= set(names)
    assert record["latency"]["latency"]["threads"] == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["FLOAT"], "is a model; give the quantized file after it, or a run"),
        (["FLOAT", "FLOAT"], "nothing in 'float.onnx' is quantized"),
        (["FLOAT", "none.onnx"], "cannot be read"),
        (["FLOAT", "QUANTIZED", "--examples", "0"], "examples was '0'"),
        (["FLOAT", "QUANTIZED", "--threads", "-1"], "threads was '-1'; give 1 or more"),
        (["FLOAT", "QUANTIZED", "--out", "cured.onnx"], "name the cure with --apply"),
        (["FLOAT", "QUANTIZED", "--no-prices", "--apply", "hope"], "there is no cure 'hope'"),
    ],
)
def test_errors_are_one_sentence(folder, capsys, arguments, sentence):
    names = {"FLOAT": folder / "float.onnx", "QUANTIZED": folder / "quantized.onnx"}
    given = [names.get(argument, argument) for argument in arguments]
    code, _, errors = call(capsys, "verify", *given, "--data", folder / "data.npz")
    assert code == 2
    assert sentence in errors


def test_the_doctor_says_what_to_choose(capsys):
    code, output, _ = call(capsys, "doctor", "--json")
    record = json.loads(output)
    assert code == 0
    assert record["target"] in ("ort-cpu", "ort-cpu-vnni")
    assert len(record["tests"]) == 2
    assert record["target"] in call(capsys, "doctor")[1]


def test_the_doctor_needs_a_thread(capsys):
    code, _, errors = call(capsys, "doctor", "--threads", "0")
    assert code == 2
    assert "threads was '0'; give 1 or more" in errors
