"""A session out of an exported file: the same quantizers, with the float model and without it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch

import workbench
from workbench.cli import main
from workbench.deploy.export import export
from workbench.deploy.metadata import SCORES, SOURCE, annotate
from workbench.foundation.errors import ModelError
from workbench.methods.base import Task
from workbench.methods.registry import make
from workbench.session.execute import build
from workbench.session.paths import samples_dir
from workbench.session.restored import SAMPLE, RestoredSession, file_metadata

SAMPLE_NAME = "digits-resnet"
PICTURES = np.random.default_rng(0).random((48, 1, 28, 28), dtype=np.float32)
DATA = (PICTURES, np.arange(48) % 10)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(session, quantized model, exported file) of a sample in 4 bits, rounded to nearest."""
    session = workbench.open(SAMPLE_NAME, data=DATA)
    recipe = session.recipe(weights=4, activations=8, method="rtn")
    model = build(session, recipe).eval()
    batches = [inputs for inputs, _ in session.data.batches("calibration", 16, 16)]
    for _ in make("rtn").learn(model, Task(lambda: iter(batches), 16)):
        pass
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export(model, path, metadata=file_metadata(session, recipe))
    return session, model, path


def inputs_of(session):
    return next(iter(session.data.batches("test", 4, 4)))[0]


def test_the_named_float_model_is_found_and_used(made) -> None:
    session, model, path = made
    again = workbench.open(path)
    assert isinstance(again, RestoredSession)
    assert again.has_original
    assert again.name == SAMPLE_NAME
    assert again.made_by == session.recipe(weights=4, activations=8, method="rtn")
    inputs = inputs_of(session)
    with torch.no_grad():
        assert torch.equal(model(*inputs)[0], again.quantized(*inputs)[0])
        assert torch.equal(session.model(*inputs)[0], again.model(*inputs)[0])


def test_it_exports_to_the_very_same_file(made, tmp_path) -> None:
    _, _, path = made
    again = workbench.open(path)
    assert isinstance(again, RestoredSession)
    assert again.export_file(tmp_path / "m.onnx").path.read_bytes() == path.read_bytes()


def test_it_is_diagnosed_and_verified(made) -> None:
    _, _, path = made
    again = workbench.open(path, data=DATA)
    assert isinstance(again, RestoredSession)
    assert again.verify_file(8).ok
    assert {record["layer"] for record in again.diagnose_file(8).records}


def test_without_the_float_model_the_dequantized_weights_stand_for_it(made, tmp_path) -> None:
    session, model, path = made
    alone = tmp_path / "alone.onnx"
    proto = onnx.load(path)
    kept = [entry for entry in proto.metadata_props if entry.key != SAMPLE]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    onnx.save(proto, alone)
    again = workbench.open(alone)
    assert isinstance(again, RestoredSession)
    assert not again.has_original
    assert again.about()["file"]["float_weights"] == "dequantized"
    inputs = inputs_of(session)
    with torch.no_grad():
        assert torch.equal(model(*inputs)[0], again.quantized(*inputs)[0])
    with pytest.raises(ModelError, match=r"is not the model that 'alone\.onnx' was made from"):
        workbench.open(alone, original="digits-gru")
    given = workbench.open(alone, original=SAMPLE_NAME)
    assert isinstance(given, RestoredSession)
    assert given.has_original


def test_the_file_tells_where_it_comes_from_and_how_it_scored(made, tmp_path) -> None:
    session, _, path = made
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(path.read_bytes())
    annotate(copy, {SCORES: json.dumps({"float": {"score": 96.4}})})
    again = workbench.open(copy)
    assert isinstance(again, RestoredSession)
    assert again.restored.metadata[SOURCE] == session.sha256
    assert again.recorded_scores == {"float": {"score": 96.4}}
    assert again.about()["file"]["versions"]["torch"] == torch.__version__


def test_the_command_shows_and_writes_it_anew(made, tmp_path, capsys) -> None:
    _, _, path = made
    out = tmp_path / "again.onnx"
    assert main(["open", str(path), "--export", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["file"]["original"]
    assert record["file"]["grids"]["weight int4 channel"] > 0
    assert out.read_bytes() == path.read_bytes()


def test_other_models_are_refused_by_the_command(capsys) -> None:
    assert main(["open", str(samples_dir() / "digits-gru.onnx")]) == 2
    assert "workbench inspect" in capsys.readouterr().err.replace("\n", " ")
