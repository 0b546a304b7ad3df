"""The server's side of the app without a browser: settings, budgets, checks of what comes in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.foundation.errors import DataError, ModelError, WorkbenchError
from workbench.session.openings import Bounds
from workbench.session.recipe import Recipe, WeightSpec
from workbench.ui.gradio import forms, screen
from workbench.ui.gradio.exact import exact_range
from workbench.ui.gradio.handlers import recipe_words
from workbench.ui.gradio.recipe_form import Form
from workbench.ui.gradio.settings import Settings, run_label, run_settings
from workbench.ui.gradio.shelf import Shelf
from workbench.ui.gradio.workspace import Desk
from workbench.views.code import command, python


def test_settings_survive_a_round_trip():
    settings = Settings(model="a", form=Form(3, 0, 0, "lsq", {"epochs": 2}), layer="x", channel=4)
    assert Settings.from_record(json.loads(json.dumps(settings.record()))) == settings


def test_settings_of_another_version_are_read_as_far_as_known():
    assert Settings.from_record({"layer": "x", "new": 1, "form": {"weights": 2, "old": 3}}) == (
        Settings(layer="x", form=Form(weights=2))
    )


def test_form_and_recipe_are_the_same():
    form = Form(3, 0, 0, "lsq", {"epochs": 2})
    recipe = form.recipe()
    assert recipe.activations is None
    assert recipe.edges is None
    assert Form.of(recipe) == form
    assert run_label(recipe) == "W3Af lsq"
    assert run_settings(recipe) == {
        "target": "ort-cpu",
        "calibrated on": "real data",
        "edges": "same",
        "levels": "uniform",
        "transforms": "",
        "options": "epochs 2",
        "teacher": "",
        "besides": "",
    }
    assert Form.of(Recipe()) == Form()


def test_target_levels_and_transforms_are_part_of_the_form():
    form = Form(4, 0, 8, "rtn", {}, "weight-only", "nf4", ("equalize",))
    assert Form.of(form.recipe()) == form


def test_zero_points_of_weights_go_through_form_recipe_and_code():
    form = Form(4, 0, 0, "gram", {}, "weight-only", "affine", ("incoherence",))
    recipe = form.recipe()
    assert not recipe.weights.symmetric
    assert Form.of(recipe) == form
    spec = WeightSpec(bits=4, table="nf4", symmetric=False)
    assert Form.of(Recipe(target="weight-only", weights=spec, activations=None)).table == "nf4"
    words = recipe_words(form)
    assert "--zero-points" in command(words, "m", None)
    assert "WeightSpec(bits=4, symmetric=False)" in python(words, "m", None)
    stored = json.loads(json.dumps(Settings(form=form).record()))
    assert Settings.from_record(stored).form == form


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (Form(target="tensorrt"), "'tensorrt' runs weights of 8 bits, not 4"),
        (Form(target="weight-only"), "keeps activations float, not 8 bits"),
        (Form(weights=8, table="nf4"), "'nf4' is not defined for 8 bits"),
    ],
)
def test_what_cannot_be_is_said_beside_the_form(tmp_path: Path, form: Form, words: str):
    workspace = Desk(tmp_path).workspace("a" * 32)
    assert screen.hints(workspace)["refusal"]["text"] == ""
    workspace.update(form=form)
    assert words in screen.hints(workspace)["refusal"]["text"]


def test_an_impossible_form_is_one_sentence():
    with pytest.raises(WorkbenchError, match="epochs"):
        Form(method="lsq", options={"epochs": -1}).recipe()


def test_the_shelf_keeps_to_its_budget():
    shelf: Shelf[bytes] = Shelf(100, len)
    made = []

    def value(key: str) -> bytes:
        return shelf.get(key, lambda: made.append(key) or bytes(40))

    for key in ("a", "b", "a", "c", "a", "b"):
        value(key)
    assert made == ["a", "b", "c", "b"]
    assert shelf.bytes <= 100
    assert "c" not in shelf


def test_one_large_value_is_kept():
    shelf: Shelf[bytes] = Shelf(10, len)
    shelf.get("small", lambda: bytes(5))
    shelf.get("large", lambda: bytes(50))
    assert len(shelf) == 1


@pytest.mark.parametrize("key", [None, "", "../../etc", "0" * 31, "G" * 32, 7, ["a"]])
def test_a_key_that_is_none_of_ours_gets_a_fresh_workspace(tmp_path: Path, key: object):
    desk = Desk(tmp_path)
    workspace = desk.workspace(key)
    assert workspace.key != key
    assert workspace.directory.parent == tmp_path / "users"
    assert workspace.settings == desk.first


def test_damaged_settings_are_forgotten(tmp_path: Path):
    workspace = Desk(tmp_path).workspace("a" * 32)
    workspace.update(layer="x")
    (workspace.directory / "settings.json").write_text("{")
    assert workspace.settings == Settings()


@pytest.mark.parametrize(
    "payload",
    [
        None,
        3,
        "",
        "[]",
        "{",
        "null",
        '{"scale": "x", "zero_point": 0}',
        '{"scale": NaN, "zero_point": 0}',
        '{"scale": 1e300, "zero_point": 0}',
        '{"scale": 1, "zero_point": 1e9}',
        '{"scale": 1, "zero_point": 0, "channel": "x"}',
        '{"scale": 1, "zero_point": 0, "key": "../..", "site": "w"}',
        " " * 5000,
    ],
)
def test_strange_questions_get_no_answer(tmp_path: Path, payload: object):
    assert exact_range(Desk(tmp_path, first=Settings(model="no such model")), payload) is None


@pytest.mark.parametrize("name", ["evil.pkl", "model.pt", "page.html", "noname"])
def test_other_kinds_of_files_are_refused(tmp_path: Path, name: str):
    file = tmp_path / name
    file.write_bytes(b"x")
    with pytest.raises(WorkbenchError, match="not a kind of file"):
        Desk(tmp_path).workspace("a" * 32).open_data(file)


def test_a_file_that_takes_too_much_is_refused_and_nothing_of_it_is_kept(
    tmp_path: Path, tiny, monkeypatch: pytest.MonkeyPatch
):
    little = Bounds(memory_gib=2.0, seconds=1)
    monkeypatch.setattr("workbench.ui.gradio.workspace.upload_bounds", lambda: little)
    workspace = Desk(tmp_path).workspace("a" * 32)
    before = workspace.settings
    with pytest.raises(ModelError, match="more memory or time than a file may take here"):
        workspace.open_model(tiny.model)
    with pytest.raises(DataError, match="more memory or time than a file may take here"):
        workspace.open_data(tiny.data)
    assert workspace.settings == before
    assert not any((workspace.directory / "uploads").iterdir())


def test_each_method_says_what_it_learns():
    for _, name in forms.choices():
        assert "learns" in forms.about(name)
