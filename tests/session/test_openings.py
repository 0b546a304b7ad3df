"""Files of strangers are tried in a process of their own: what hurts there ends nothing here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.ui.conftest import tiny_model
from workbench.session import openings
from workbench.session.openings import TOO_MUCH, UNFORESEEN, Bounds, problem_of
from workbench.session.studies import Study

ENOUGH = Bounds(2.0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save(tiny_model(), path)
    return path


def test_what_opens_has_no_problem(model: Path) -> None:
    assert problem_of(model.parent, str(model), None, ENOUGH) == ""
    record = Study(model.parent, "opening").record()
    assert record == {"parameters": 372, "examples": 0}


def test_what_is_refused_is_refused_in_the_same_words(tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(tiny_model().SerializeToString()[:300])
    assert str(path.name) in problem_of(tmp_path, str(path), None, ENOUGH)


def test_a_bomb_ends_its_own_process(model: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.npz"
    np.savez_compressed(bomb, image=np.zeros((2**20 - 8, 1, 8, 8), np.float32))
    assert bomb.stat().st_size < 2**20
    words = problem_of(tmp_path, str(model), str(bomb), Bounds(0.45))
    assert words.endswith("'image.npy' does not fit into memory; give fewer examples")


def test_what_never_ends_is_ended(model: Path) -> None:
    assert problem_of(model.parent, str(model), None, Bounds(2.0, seconds=1)) == TOO_MUCH
    assert problem_of(model.parent, str(model), None, Bounds(2.0, patience=0.05)) == TOO_MUCH
    assert Study(model.parent, "opening").state != "running"


def test_a_fault_of_ours_is_told_apart(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(study: Study, *_: object, **__: object) -> Study:
        study.place.mkdir(exist_ok=True)
        study.log.write_text("a traceback")
        monkeypatch.setattr("workbench.session.session.open", lambda *_, **__: 1 / 0)
        study.make()
        return study

    monkeypatch.setattr(Study, "start", broken)
    assert problem_of(model.parent, str(model), None, ENOUGH) == UNFORESEEN


def test_memory_that_is_not_there_is_no_fault_of_ours(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")

    monkeypatch.setattr("workbench.session.session.open", empty)
    (model.parent / "asked.json").write_text('{"model": "x", "data": null}')
    with pytest.raises(openings.ModelError, match="more memory or time"):
        openings.attempt(model.parent, lambda *_: None)
