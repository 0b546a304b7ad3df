"""Recipes: exact in TOML out and in, and one sentence for whatever is impossible."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.foundation.errors import RecipeError
from workbench.graph.targets import TARGETS
from workbench.session.recipe import ActivationSpec, Override, Recipe, Stage, WeightSpec

WEIGHTS = st.builds(
    WeightSpec,
    bits=st.integers(1, 8),
    granularity=st.sampled_from(["tensor", "channel"]),
    group_size=st.integers(1, 4096),
    symmetric=st.booleans(),
)
ACTIVATIONS = st.builds(
    ActivationSpec, bits=st.integers(2, 16), symmetric=st.none() | st.booleans()
)
OVERRIDES = st.builds(
    Override,
    pattern=st.text(min_size=1, max_size=20),
    weights=st.integers(0, 8),
    activations=st.none() | st.just(0),
)
STAGES = st.sampled_from(
    [Stage(method="rtn"), Stage(method="gram"), Stage(method="gram", options={"sweeps": 3})]
)
RECIPES = st.builds(
    Recipe,
    weights=WEIGHTS,
    activations=st.none() | ACTIVATIONS,
    edges=st.none() | st.integers(2, 8),
    overrides=st.lists(OVERRIDES, max_size=3).map(tuple),
    stages=st.lists(STAGES, min_size=1, max_size=3).map(tuple),
    store=st.sampled_from(["packed", "int8"]),
    seed=st.integers(0, 2**32 - 1),
    calibration_examples=st.integers(1, 1_000_000),
)


@given(RECIPES)
def test_toml_gives_back_an_equal_recipe(recipe: Recipe):
    assert Recipe.from_toml(recipe.toml()) == recipe


@given(RECIPES)
def test_toml_is_stable(recipe: Recipe):
    assert Recipe.from_toml(recipe.toml()).toml() == recipe.toml()


def test_files_round_trip(tmp_path: Path):
    recipe = Recipe(activations=None, edges=None, overrides=(Override(pattern="head", weights=8),))
    recipe.save(tmp_path / "recipe.toml")
    assert Recipe.load(tmp_path / "recipe.toml") == recipe
    assert 'activations = "float"' in recipe.toml()
    assert 'edges = "same"' in recipe.toml()


def test_a_recipe_may_leave_everything_out():
    assert Recipe.from_toml("") == Recipe()


def test_the_naive_recipe_keeps_the_grids():
    recipe = Recipe(weights=WeightSpec(bits=3), edges=None)
    naive = recipe.naive()
    assert naive.weights == recipe.weights
    assert naive.edges is None
    assert [stage.method for stage in naive.stages] == ["rtn"]


def test_recipes_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Recipe().seed = 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[weights]\nbits = 11", "weights: option 'bits' was 11: give a number of at most 8"),
        ("[weights]\nbits = 0", "weights: option 'bits' was 0: give a number of at least 1"),
        ("[activations]\nbits = 0", "activations: option 'bits' was 0: give a number of at least"),
        ("[weights]\nbitz = 4", "weights has no option 'bitz'; its options are: .*bits"),
        ("colour = 3", "recipe has no option 'colour'; its options are: .*target"),
        ("stages = []", "recipe: option 'stages' was .*at least 1 item"),
        ("[[stages]]\nmethod = 'gramm'", "unknown method 'gramm'; did you mean 'gram'"),
        ("[[stages]]\nmethod = 'gram'\n[stages.options]\nsweep = 1", "no option 'sweep'.*sweeps"),
        ("[[stages]]\nmethod = 'gram'\n[stages.options]\nsweeps = -1", "'sweeps' was -1"),
        (
            "[[stages]]\nmethod = 'qlora'",
            "'qlora' builds upon the transform 'low_rank'.*--transform low_rank",
        ),
        ("target = 'orb-cpu'", "unknown target 'orb-cpu'; .*ort-cpu"),
        ("target = 'weight-only'", "keeps activations float, not 8 bits; use activations='float'"),
        (
            "[weights]\nbits = 8\ngranularity = 'group'",
            "group-wise weights of 8 bits do .*use 4 bits, or",
        ),
        ("store = 'int8'\n[weights]\ngranularity = 'group'", "use store = 'packed'"),
        ("seed = -1", "recipe: option 'seed' was -1"),
        ("seed = ", "the recipe is not TOML"),
        ("weights = 4", r"weights was 4; write it as \[weights\] with bits = 4"),
        ("weights = '4'", "weights was '4'; give a whole number of bits such as 4"),
        (
            "activations = 8",
            r"activations was 8; write it as \[activations\] with bits = 8, or 'fl",
        ),
        ("activations = 'flaot'", "activations was 'flaot'; give a whole number .* or 'float'"),
        ("[weights]\nbits = '4'", "weights: option 'bits' was '4': give a whole number such as 4"),
        ("[weights]\nbits = true", "weights: option 'bits' was True: give a whole number"),
        ("[weights]\ntable = 'nf5'", "unknown table 'nf5'; choose one of: uniform, .*nf4"),
        ("[weights]\ntable = 'nf4'\nbits = 5", "table 'nf4' is not defined for 5 bits"),
        ("[[overrides]]\npattern = 'x'", "changes nothing; give weights or activations"),
        (
            "activations = 'float'\n[[overrides]]\npattern = 'x'\nactivations = 8",
            "override 'x' asks for 8-bit activations where all are float",
        ),
        ("target = 'tensorrt'", "runs weights of 8 bits, not 4; use 8, or float activations"),
        ("edges = 9", "recipe: option 'edges' was 9"),
    ],
)
def test_what_is_impossible_is_said_in_one_sentence(text: str, sentence: str):
    with pytest.raises(RecipeError, match=sentence) as caught:
        Recipe.from_toml(text)
    assert "\n" not in str(caught.value).strip()


def test_specs_explain_themselves_when_built_alone():
    with pytest.raises(RecipeError, match="weights: option 'bits' was 9"):
        WeightSpec(bits=9)
    with pytest.raises(RecipeError, match="unknown method"):
        Stage(method="magic")


def test_missing_binary_and_huge_files(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"cannot be read: No such file.*check the path"):
        Recipe.load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not text"):
        Recipe.load(tmp_path / "binary.toml")
    (tmp_path / "huge.toml").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(RecipeError, match="larger than a recipe"):
        Recipe.load(tmp_path / "huge.toml")


def test_bits_in_python_are_numbers():
    with pytest.raises(RecipeError, match="weights was 'four'; give a whole number of bits"):
        Recipe(weights="four")
    with pytest.raises(RecipeError, match="option 'bits' was True"):
        WeightSpec(bits=True)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_every_target_has_a_recipe_that_toml_keeps(name: str):
    active = ActivationSpec() if TARGETS[name].quantizes_activations else None
    recipe = Recipe(target=name, weights=WeightSpec(bits=8), activations=active)
    assert Recipe.from_toml(recipe.toml()) == recipe
