"""Studies of a finished run in their own processes, and exported files taken over as runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.foundation.errors import ModelError
from workbench.session.adopting import adopt, made_from
from workbench.session.execute import Extent
from workbench.session.recipe import Recipe
from workbench.session.restored import RestoredSession
from workbench.session.runs import Run
from workbench.session.session import Session
from workbench.session.session import open as open_session
from workbench.session.store import write_json
from workbench.session.studies import ENDED, Study

FEW = Extent(naive=False, layers=False, latency=False, examples=32, verify_examples=8)
RECIPE = Recipe(calibration_examples=32)


@pytest.fixture(scope="module")
def session() -> Session:
    return open_session("digits-mobilenet")


@pytest.fixture(scope="module")
def run(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("studies") / "run"
    return session.quantize(recipe=RECIPE, out=out, extent=FEW)


def test_nothing_was_studied_yet(tmp_path: Path) -> None:
    study = Study(tmp_path, "times")
    assert study.state == "none"
    assert study.record() is None
    assert study.message == ""


@pytest.mark.slow
def test_times_by_node_are_left_beside_the_run(run: Run) -> None:
    study = Study(run.directory, "times").start(memory_gib=8, seconds=120)
    assert study.state == "running"
    assert study.wait(120) == "done", study.message
    record = study.record()
    assert record is not None
    assert {node["kind"] for node in record["nodes"]} >= {"float", "integer"}
    again = Study(run.directory, "times")
    assert again.record() == record


@pytest.mark.slow
def test_prices_are_those_of_the_runs_own_file(run: Run) -> None:
    study = Study(run.directory, "prices")
    study.make()
    record = study.record()
    assert record is not None
    assert record["ok"]
    assert record["stored"] == run.report()["verification"]["stored"] > 0
    assert record["price"]["latency_ms"] > 0


def test_a_run_that_is_not_done_is_refused_in_one_sentence(run: Run, tmp_path: Path) -> None:
    files = run.session.prepare(RECIPE, tmp_path / "new", FEW)
    study = Study(files.directory, "times")
    study.make()
    assert study.state == "failed"
    assert study.message == "run 'new' is stopped; wait until it is done, or resume it"


def test_a_process_that_died_is_told(tmp_path: Path) -> None:
    study = Study(tmp_path, "machine")
    study.place.mkdir()
    write_json(study.place / "machine-pid.json", {"pid": 2**22 + 1, "born": 1, "leads": True})
    assert study.state == "failed"
    assert study.message == ENDED


@pytest.mark.slow
def test_an_exported_file_becomes_the_same_run_again(
    session: Session, run: Run, tmp_path: Path
) -> None:
    file = open_session(run.files.model)
    assert isinstance(file, RestoredSession)
    assert made_from(file, session)
    files = adopt(file, session, tmp_path / "again", FEW)
    session.make(files)
    again = Run(files.directory)
    assert again.files.model.read_bytes() == run.files.model.read_bytes()
    assert again.scores["learned"] == run.scores["learned"]


@pytest.mark.slow
def test_transforms_need_the_float_model(session: Session, tmp_path: Path) -> None:
    recipe = RECIPE.changed(transforms=("equalize",), stages=RECIPE.naive().stages)
    extent = Extent(False, False, False, False, examples=8)
    run = session.quantize(recipe=recipe, out=tmp_path / "run", extent=extent)
    file = open_session(run.files.model)
    assert isinstance(file, RestoredSession)
    file.has_original = False
    with pytest.raises(ModelError, match="open its float model first"):
        adopt(file, file, tmp_path / "again", extent)
