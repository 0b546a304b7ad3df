"""Where work begins, on the server's side: models and data are taken, or refused in words."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.ui.conftest import tiny_model
from workbench.foundation.errors import DataError, ModelError, WorkbenchError
from workbench.session.execute import Extent
from workbench.session.recipe import Recipe
from workbench.session.session import open as open_session
from workbench.ui.gradio import opening, screen
from workbench.ui.gradio.baselines import Baselines
from workbench.ui.gradio.settings import Settings
from workbench.ui.gradio.workspace import Desk, Workspace
from workbench.views import strings

pytestmark = pytest.mark.usefixtures("tried_here")

FEW = Extent(naive=False, layers=False, latency=False, verify=False)


@pytest.fixture
def workspace(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A page on the tiny model with data, where runs wait for ever."""
    monkeypatch.setattr("workbench.session.queueing.Queue.wake", lambda _: None)
    monkeypatch.setattr("workbench.ui.gradio.workspace._JOBS", 0)
    first = Settings(str(tiny.model), "tiny", str(tiny.data), view="open")
    return Desk(tmp_path / "app", FEW, first).workspace("e" * 32)


def packed(folder: Path, *, location: str = "weights.bin", data: bool = True) -> Path:
    """A zip of the tiny model whose weights lie beside it."""
    onnx.save(
        tiny_model(), folder / "net.onnx", save_as_external_data=True, location="weights.bin",
        size_threshold=0,
    )  # fmt: skip
    content = (folder / "net.onnx").read_bytes()
    if location != "weights.bin":
        assert len(location) == len("weights.bin")
        content = content.replace(b"weights.bin", location.encode())
    path = folder / "net.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/net.onnx", content)
        if data:
            archive.write(folder / "weights.bin", "net/weights.bin")
    return path


# --- models


def test_a_card_opens_its_model_and_forgets_other_data(workspace: Workspace) -> None:
    assert opening.choose(workspace, "digits-gru") == ""
    settings = workspace.settings
    assert (settings.model, settings.data, settings.run) == ("digits-gru", None, "")
    rows = {row["label"]: row for row in opening.loaded(workspace)["rows"]}
    assert rows["examples"]["value"] == "1,000 calibrate, 3,000 others judge"
    assert rows["data"]["value"] == strings.OPEN_OWN


@pytest.mark.parametrize("name", ["no-such-model", None, "../../etc/passwd", "x" * 5000])
def test_only_known_names_are_opened(workspace: Workspace, name: object) -> None:
    with pytest.raises(ModelError, match="known are"):
        opening.choose(workspace, name)
    assert workspace.settings.title == "tiny"


def test_a_missing_package_is_refused_with_its_cure(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    cards = [c for group in opening.view(workspace)["groups"] for c in group["cards"]]
    assert {c["absent"] for c in cards if c["name"] == "magika"} == {strings.OPEN_ABSENT}
    assert {c["absent"] for c in cards if c["name"] == "digits-vit"} == {""}
    with pytest.raises(ModelError, match="pip install"):
        opening.choose(workspace, "magika")


def test_a_zip_with_external_data_is_opened(workspace: Workspace, tiny, tmp_path: Path) -> None:
    words = opening.take_model(workspace, packed(tmp_path))
    assert words == strings.OPENED_DATA_FREE.format(name="net")
    assert workspace.settings.model.endswith("net.zip")
    opened, whole = workspace.desk.session(workspace.settings), open_session(tiny.model)
    pairs = zip(opened.model.parameters(), whole.model.parameters(), strict=True)
    assert all(bool((a == b).all()) for a, b in pairs)


@pytest.mark.parametrize(
    ("location", "data", "words"),
    [
        ("weights.bin", False, "is missing"),
        ("../../x.bin", True, "only a plain file beside"),
    ],
)
def test_external_data_that_is_not_in_the_zip_is_refused(
    workspace: Workspace, tmp_path: Path, location: str, data: bool, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        opening.take_model(workspace, packed(tmp_path, location=location, data=data))
    assert workspace.settings.title == "tiny"


def test_a_zip_that_climbs_out_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "climbs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../net.onnx", tiny_model().SerializeToString())
    with pytest.raises(ModelError, match=r"climbs out with '\.\.'"):
        opening.take_model(workspace, path)


def test_a_zip_without_a_model_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.png", b"x")
    with pytest.raises(ModelError, match=r"holds '0' \.onnx files"):
        opening.take_model(workspace, path)


# --- data, and none


def test_without_data_the_form_calibrates_on_made_examples(workspace: Workspace, tiny) -> None:
    words = opening.take_model(workspace, tiny.model)
    assert "no data yet" in words
    assert workspace.settings.form.synthetic == "random"  # the tiny model has no batch norms
    assert screen.refusal(workspace) == ""
    view = opening.loaded(workspace)
    assert view["tone"] == "warn"
    assert "(chance)" in view["note"]


def test_data_are_told_and_end_the_making(workspace: Workspace, tiny) -> None:
    opening.take_model(workspace, tiny.model)
    words = opening.take_data(workspace, tiny.data)
    counts = "80 examples calibrate, 80 others judge"
    assert words == f"'tiny-data.npz': {counts}; labels: yes, a class for each."
    assert workspace.settings.form.synthetic == ""
    assert opening.loaded(workspace)["actions"][0]["label"] == strings.OPEN_USE_NONE
    opening.drop_data(workspace)
    assert workspace.settings.data is None
    assert workspace.settings.form.synthetic == "random"


def test_a_maker_that_was_chosen_stays_with_real_data(workspace: Workspace, tiny) -> None:
    workspace.update(form=replace(workspace.settings.form, synthetic="random"))
    opening.take_data(workspace, tiny.data)
    assert workspace.settings.form.synthetic == "random"


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"image": np.zeros((9, 1, 7, 8), np.float32)}, "7"),
        ({"image": np.zeros((1, 1, 8, 8), np.float32)}, "holds one example"),
        ({"sound": np.zeros((9, 4), np.float32), "y": np.arange(9)}, "name it 'image'"),
        ({"image": np.zeros((9, 1, 8, 8), np.float32), "labels": np.arange(9)}, "label '4' is"),
    ],
)
def test_data_that_do_not_fit_say_what_value_and_cure(
    workspace: Workspace, tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    path = tmp_path / "wrong.npz"
    np.savez(path, **arrays)
    before = workspace.settings
    with pytest.raises(DataError, match=words) as caught:
        opening.take_data(workspace, path)
    assert str(workspace.directory) not in str(caught.value)
    assert workspace.settings == before


def test_the_first_look_without_data_is_on_made_inputs(tiny, tmp_path: Path) -> None:
    baselines = Baselines(tmp_path, FEW)
    baselines._start(tmp_path / "made", str(tiny.model), None)
    recipe = Recipe.load(tmp_path / "made" / "recipe.toml")
    assert recipe.synthetic is not None
    assert recipe.synthetic.maker == "random"
    assert [stage.method for stage in recipe.stages] == ["rtn"]


# --- things to try


def test_a_proposal_makes_a_run_and_is_noted(workspace: Workspace) -> None:
    states = [step["state"] for step in opening.tries(workspace)["steps"]]
    assert states == ["open", "open", "blocked"]
    opening.attempt(workspace, "break")
    run = workspace.at_work()
    assert run is not None
    assert (run.recipe.weights.bits, run.recipe.stages[0].method) == (2, "rtn")
    assert workspace.settings.view == "layers"
    states = [step["state"] for step in opening.tries(workspace)["steps"]]
    assert states == ["running", "blocked", "blocked"]
    assert workspace.settings.tried == ("break",)
    workspace.stop()
    assert opening.tries(workspace)["steps"][0]["state"] == "done"


@pytest.mark.parametrize("name", ["compare", "format the disk", None])
def test_a_proposal_that_cannot_be_is_refused(workspace: Workspace, name: object) -> None:
    with pytest.raises(WorkbenchError):
        opening.attempt(workspace, name)
    assert workspace.settings.tried == ()


def test_a_dismissal_is_kept_by_the_browsers_key(workspace: Workspace) -> None:
    workspace.update(guided=False)
    again = Desk(workspace.desk.root, FEW, workspace.desk.first)
    assert opening.tries(again.workspace(workspace.key)) == {}
    assert opening.tries(again.workspace("f" * 32))["steps"]
    assert opening.tries(again.nobody()) == {}


def test_nothing_is_looked_up_while_the_page_is_not_open(workspace: Workspace) -> None:
    workspace.update(view="layers")
    assert opening.view(workspace) == opening.loaded(workspace) == {}
