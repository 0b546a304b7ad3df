"""The form is the whole recipe: nothing that a recipe can say is lost, hidden or out of reach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from workbench.foundation.errors import RecipeError, WorkbenchError
from workbench.foundation.options import Control, controls
from workbench.graph.passes.registry import TRANSFORMS
from workbench.methods.registry import METHODS
from workbench.session.recipe import (
    ActivationSpec,
    Override,
    Recipe,
    Stage,
    Synthetic,
    WeightSpec,
)
from workbench.synthesis.registry import MAKERS
from workbench.ui.gradio import forms, recipe_card, screen
from workbench.ui.gradio.handlers import recipe_words
from workbench.ui.gradio.recipe_card import Controls
from workbench.ui.gradio.recipe_form import PARTS, WRITTEN, Form
from workbench.ui.gradio.settings import Settings, run_settings
from workbench.ui.gradio.workspace import Desk
from workbench.views.code import command, python

TEXTS = {"bits": "8,4", "estimator": "ewgs:delta=0.01", "pattern": "blocks.*"}
FEW = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
METHOD_NAMES = [entry.name for entry in METHODS]


@pytest.fixture(scope="module")
def card() -> Controls:
    with gr.Blocks():
        return recipe_card.recipe_card(Settings())[0]


def held(card: Controls, form: Form) -> list[Any]:
    """What the components of a fresh page hold once it shows `form`, as the browser sends it."""
    updates = recipe_card.shown(card, Settings(form=form))
    values = []
    for component in card.recipe:
        update = updates.get(component, component.value)
        update = update.get("value", component.value) if isinstance(update, dict) else update
        values.append(getattr(update, "value", update))
    return json.loads(json.dumps(values))


def through(card: Controls, recipe: Recipe) -> Recipe:
    """Recipe → form → components → form → recipe."""
    return recipe_card.read(card, held(card, Form.of(recipe))).recipe()


def values_of(control: Control) -> st.SearchStrategy[Any]:
    """Values that an option may have, on the face of its declaration."""
    if control.kind == "flag":
        return st.booleans()
    if control.kind == "choice":
        return st.sampled_from(control.choices)
    if control.kind == "text":
        return st.just(TEXTS.get(control.name, control.default))
    low = 0 if control.minimum is None else control.minimum
    high = low + 1000 if control.maximum is None else control.maximum
    if control.kind == "integer":
        return st.integers(int(low), min(int(high), int(low) + 1000))
    return st.floats(low, high)


def some(data: st.DataObject, options: type[Any]) -> dict[str, Any]:
    """Some of the options with values other than their defaults; {} where they do not fit."""
    declared = {each.name: values_of(each) for each in controls(options)}
    drawn = data.draw(st.fixed_dictionaries({}, optional=declared))
    defaults = {each.name: each.default for each in controls(options)}
    chosen = {name: value for name, value in drawn.items() if value != defaults[name]}
    try:
        options.parse(chosen, "drawn")
    except WorkbenchError:
        return {}
    return chosen


def alone(stage: Stage) -> Recipe:
    """A recipe of one stage, with the transform that it builds upon."""
    wanted = METHODS[stage.method].facts.get("transform")
    return Recipe(stages=(stage,), transforms=(wanted,) if wanted else ())


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_defaults_of_each_method_survive_the_form(card: Controls, name: str):
    recipe = alone(Stage(method=name))
    assert through(card, recipe) == recipe
    spelled = {each.name: each.default for each in controls(METHODS[name].options)}
    said = through(card, alone(Stage(method=name, options=spelled)))
    assert said.stages[0].parsed() == recipe.stages[0].parsed()


@pytest.mark.parametrize("name", METHOD_NAMES)
@given(data=st.data())
@FEW
def test_options_of_each_method_survive_the_form(card: Controls, name: str, data: st.DataObject):
    chosen = some(data, METHODS[name].options)
    recipe = alone(Stage(method=name, options=chosen))
    assert through(card, recipe) == recipe


@pytest.mark.parametrize("name", [entry.name for entry in MAKERS])
@given(data=st.data())
@FEW
def test_options_of_each_maker_survive_the_form(card: Controls, name: str, data: st.DataObject):
    made = Synthetic(maker=name, examples=32, options=some(data, MAKERS[name].options))
    recipe = Recipe(synthetic=made)
    assert through(card, recipe) == recipe


@pytest.mark.parametrize("name", [entry.name for entry in TRANSFORMS])
@given(data=st.data())
@FEW
def test_options_of_each_transformation_survive_the_form(
    card: Controls, name: str, data: st.DataObject
):
    table = {"name": name, **some(data, TRANSFORMS[name].options)}
    recipe = Recipe(transforms=[table, *(["equalize"] if name != "equalize" else [])])
    found = through(card, recipe)
    assert sorted(found.transforms) == sorted(recipe.transforms)


def rich() -> Recipe:
    """A recipe that says something everywhere."""
    return Recipe(
        target="ort-cpu",
        weights=WeightSpec(bits=7, granularity="tensor", group_size=16),
        activations=ActivationSpec(bits=5, symmetric=False),
        edges=6,
        overrides=(Override(pattern="op:Gemm", weights=8), Override(pattern="s*", activations=0)),
        transforms=("equalize", "smooth:alpha=0.7,insert=true"),
        stages=(
            Stage(method="gram"),
            Stage(method="bias_correction"),
            Stage(method="kd", options={"epochs": 3, "mixup": 0.2, "keep_best": True}),
        ),
        synthetic=Synthetic(maker="zeroq", examples=64, options={"iterations": 5}),
        store="int8",
        seed=2**32 - 1,
        augment=2,
        calibration_examples=100,
        training_examples=200,
        teacher="bigger.onnx",
    )


def test_a_recipe_survives_the_form_and_the_store(card: Controls):
    recipe = rich()
    assert through(card, recipe) == recipe
    kept = Settings(form=Form.of(recipe))
    assert Settings.from_record(json.loads(json.dumps(kept.record()))) == kept
    assert run_settings(recipe)["teacher"] == "bigger"
    for word in ("seed 4294967295", "op:Gemm: weights 8", "group size 16", "iterations 5"):
        assert word in run_settings(recipe)["besides"]


def test_every_field_of_a_recipe_is_in_the_form():
    """A new field of a recipe has to be given a place."""
    named = {"target", "weights", "activations", "edges", "transforms", "synthetic", "teacher"}
    assert set(Recipe.model_fields) == named | set(WRITTEN) | set(PARTS["recipe"][1])
    assert set(WeightSpec.model_fields) == {"bits", "table", "symmetric", *PARTS["weights"][1]}
    assert set(ActivationSpec.model_fields) == {"bits", *PARTS["activations"][1]}
    assert set(Synthetic.model_fields) == {"maker", "options", *PARTS["synthetic"][1]}


def test_methods_agree_on_what_they_share():
    kinds = {each.name: (each.kind, each.choices) for each in forms.all_shared()}
    for name in METHOD_NAMES:
        assert {each.name: (each.kind, each.choices) for each in forms.shared(name)}.items() <= (
            kinds.items()
        )


def test_options_come_back_with_their_method(card: Controls):
    options = {"epochs": 3, "mixup": 0.2}
    values = held(card, Form(method="lsq", options=options))
    method = card.recipe.index(card.method)
    values[method] = "gram"
    assert recipe_card.read(card, values).options == {}
    values[method] = "pact"
    assert recipe_card.read(card, values).options == {"mixup": 0.2}  # shared, and seen as such
    values[method] = "lsq"
    assert recipe_card.read(card, values).options == options


def test_empty_controls_say_what_the_method_does_by_default(card: Controls):
    fields = {each.control.name: each.component for each in card.fields if each.part == "training"}
    frozen = {name: forms.hints(card.fields, name)[fields["freeze"]] for name in ("lsq", "kd")}
    assert frozen["lsq"] == {"visible": True, "placeholder": "default: 0"}
    assert not forms.hints(card.fields, "kd")[fields["features"]]["visible"]  # KD has its own
    assert forms.hints(card.fields, "gram") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[overrides]", "not TOML"),
        ("seed = 3", "'seed', and only 'overrides' and 'stages'"),
        ("overrides = 3", r"write it as \[\[overrides\]\]"),
        ('[[overrides]]\npattern = "x"\nweights = "many"', "'weights' was 'many': give a whole"),
        ('[[overrides]]\npatern = "x"', "no option 'patern'; its options are"),
        ('[[stages]]\nmethod = "gran"', "did you mean 'gram'"),
        ('[[stages]]\nmethod = "gram"\noptions = { sweeps = -1 }', "'sweeps' was -1: give"),
        ("[[stages]]", "stage needs the option 'method'"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(text: str, words: str):
    with pytest.raises(RecipeError, match=words):
        Form(more=text).recipe()


def test_a_wrong_number_names_the_option_the_value_and_the_cure(card: Controls):
    values = held(card, Form(method="lsq"))
    place = next(
        i for i, each in enumerate(card.recipe) if each.elem_id == "wb-option-training-mixup"
    )
    values[place] = "a lot"
    with pytest.raises(RecipeError, match="'mixup' was 'a lot': give a number"):
        recipe_card.read(card, values).recipe()
    values[place] = "-1"
    with pytest.raises(RecipeError, match=r"'mixup' was -1\.0: give a number of at least 0"):
        recipe_card.read(card, values).recipe()


def test_a_teacher_is_for_training_alone():
    assert Form(method="gram", teacher="t.onnx").recipe().teacher == ""
    assert Form(method="kd", teacher="t.onnx").recipe().teacher == "t.onnx"
    before = '[[stages]]\nmethod = "kd"'
    assert Form(method="gram", teacher="t.onnx", more=before).recipe().teacher == "t.onnx"


def with_three_classes(path: Path, to: Path) -> Path:
    """The tiny model without its last class."""
    model = onnx.load(path)
    for stored in model.graph.initializer:
        if stored.name in ("w3", "b3"):
            rows = numpy_helper.to_array(stored)[:3]
            stored.CopyFrom(numpy_helper.from_array(rows, stored.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    onnx.save(model, to)
    return to


@pytest.mark.usefixtures("tried_here")
def test_a_teacher_is_a_known_model_or_one_of_this_page(tmp_path: Path, tiny):
    desk = Desk(tmp_path, first=Settings(model=str(tiny.model), data=str(tiny.data)))
    workspace = desk.workspace("a" * 32)
    workspace.update(form=Form(method="kd", teacher=str(tiny.hostile)))
    assert "'hostile.onnx', which is not on this page" in screen.refusal(workspace)
    assert str(tiny.hostile) not in screen.refusal(workspace)
    with pytest.raises(WorkbenchError, match="give a model with the same classes"):
        workspace.open_teacher(with_three_classes(tiny.model, tmp_path / "three.onnx"))
    assert "fits this model" in workspace.open_teacher(tiny.hostile)
    assert Path(workspace.recipe().teacher).name == "hostile.onnx"
    assert screen.refusal(workspace) == ""
    workspace.update(form=Form(method="kd", teacher="digits-mobilenet"))
    assert workspace.recipe().teacher == "digits-mobilenet"


def test_a_recipe_file_fills_the_form(tmp_path: Path):
    workspace = Desk(tmp_path).workspace("a" * 32)
    rich().save(tmp_path / "mine.toml")
    assert "'mine.toml'" in workspace.open_recipe(tmp_path / "mine.toml")
    assert workspace.settings.form.recipe() == rich()
    (tmp_path / "other.toml").write_text("weights = 4")
    with pytest.raises(RecipeError, match="weights was 4"):
        workspace.open_recipe(tmp_path / "other.toml")
    assert workspace.settings.form.recipe() == rich()


def test_code_of_a_recipe_that_words_cannot_say_uses_its_file():
    words = recipe_words(Form.of(rich()))
    assert "--recipe recipe.toml" in command(words, "m", None)
    assert "recipe=Recipe.load('recipe.toml')" in python(words, "m", None)
    taught = recipe_words(Form(method="kd", teacher="/somewhere/big.onnx", options={"epochs": 3}))
    assert "--teacher big.onnx" in command(taught, "m", None)
    assert "teacher='big.onnx'" in python(taught, "m", None)
