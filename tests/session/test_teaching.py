"""A bigger network teaches: it is named in the recipe, must fit, and may not change under way."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import workbench
from tests.session.conftest import CLASSES, SIDE
from workbench.foundation.errors import ModelError, RecipeError, RunError
from workbench.session.execute import Extent, execute
from workbench.session.recipe import Recipe
from workbench.session.runs import Run
from workbench.session.session import Session, reopen
from workbench.session.teaching import teacher, unlocated

BRIEF = Extent(naive=False, layers=False, verify=False, latency=False)


def bigger(classes: int = CLASSES, side: int = SIDE, bias: float = 3.0) -> nn.Module:
    """Twice as wide, and sure of the last class."""
    torch.manual_seed(2)
    net = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * side * side, classes),
    )
    with torch.no_grad():
        net[3].bias[-1] = bias
    return net


def saved(path: Path, module: nn.Module, side: int = SIDE) -> Path:
    workbench.open(module, example_inputs=(torch.zeros(2, 1, side, side),)).save(path)
    return path


@pytest.fixture(scope="module")
def bigger_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("teachers") / "bigger.onnx", bigger())


@pytest.fixture
def session(tiny_path: Path, tiny_npz: Path) -> Session:
    return workbench.open(tiny_path, data=tiny_npz)


def recipe(path: str, method: str = "kd", **options: object) -> Recipe:
    course = {"epochs": 6, "learning_rate": 1e-2, "batch_size": 16, "features": 0.0, **options}
    stage = {"method": method, "options": course if method != "rtn" else {}}
    return Recipe(weights={"bits": 8}, stages=[stage], teacher=path)


def share_of_last(run: Run, session: Session) -> float:
    inputs = next(session.data.batches("test", 32))[0]
    return float((run.model(*inputs)[0].argmax(1) == CLASSES - 1).float().mean())


def test_the_network_learns_the_teachers_answers(
    session: Session, bigger_path: Path, tmp_path: Path
) -> None:
    alone = session.quantize(recipe=recipe(""), extent=BRIEF, out=tmp_path / "alone")
    taught = session.quantize(
        recipe=recipe(str(bigger_path)), extent=BRIEF, out=tmp_path / "taught"
    )
    assert share_of_last(taught, session) > share_of_last(alone, session) + 0.3


def test_a_relative_path_is_found_from_anywhere_and_stays_at_home(
    session: Session, bigger_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bigger_path.parent)
    files = session.prepare(recipe("bigger.onnx", epochs=1), tmp_path / "run", BRIEF)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    session.make(files)
    assert Run(files.directory).recipe.teacher == str(bigger_path)
    written = workbench.open(files.model)
    assert written.made_by.teacher == "bigger.onnx"


def test_a_teacher_that_changed_under_way_is_refused(
    session: Session, bigger_path: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(bigger_path, tmp_path))
    files = session.prepare(recipe(str(path)), tmp_path / "run", BRIEF)
    saved(path, bigger(bias=1.0))
    again = reopen(files.directory)
    with pytest.raises(RunError, match=r"bigger\.onnx' has changed since"):
        list(execute(again, Recipe.load(files.recipe), files.directory, BRIEF))


@pytest.mark.parametrize(
    ("module", "side", "words"),
    [
        (bigger(classes=CLASSES + 1), SIDE, r"answers with shape \[\d+, 5\]"),
        (bigger(side=6), 6, "does not take the inputs"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(
    session: Session, tmp_path: Path, module: nn.Module, side: int, words: str
) -> None:
    path = saved(tmp_path / "other.onnx", module, side)
    with pytest.raises(ModelError, match=words):
        session.prepare(recipe(str(path)), tmp_path / "run")


def test_a_teacher_of_nobody_is_refused(
    session: Session, bigger_path: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"none of the stages \(rtn\) trains the network"):
        session.prepare(recipe(str(bigger_path), "rtn"), tmp_path / "run")


def test_a_stage_that_does_not_listen_says_so(
    session: Session, bigger_path: Path, tmp_path: Path
) -> None:
    deaf = recipe(str(bigger_path), "train", epochs=1, labels=1.0, logits=0.0)
    run = session.quantize(recipe=deaf, extent=BRIEF, out=tmp_path / "run")
    assert any("learns nothing from the teacher" in e.get("text", "") for e in run.events())


def test_the_models_own_answers_by_default(session: Session) -> None:
    plain = recipe("")
    assert teacher(session, plain) is None
    assert "teacher" not in plain.toml()
    assert Recipe.from_toml(recipe("a/b.onnx").toml()).teacher == "a/b.onnx"
    assert unlocated(recipe("a/b.onnx")).teacher == "b.onnx"
