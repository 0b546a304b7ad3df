"""Grids: which recipes they stand for, and what is wrong with them, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

import workbench
from workbench.foundation.errors import RecipeError
from workbench.session.grid import SweepError, SweepFile, bases, changed, points
from workbench.session.recipe import Recipe, Stage
from workbench.session.results import marked
from workbench.session.sweep import build

USUAL = bases(())


def test_every_combination_once():
    found = points(USUAL, {"weights": [2, 3, 4], "method": ["rtn", "gram"], "seed": [0, 1]})
    assert len(found) == 12
    assert len({point.recipe.toml() for point in found}) == 12
    assert found[0].settings == {"weights": 2, "method": "rtn", "seed": 0}
    assert found[0].recipe == Recipe(
        weights={"bits": 2}, stages=(Stage(method="rtn"),), activations={"bits": 8}
    )


def test_an_option_counts_only_where_its_stage_is():
    found = points(USUAL, {"method": ["rtn", "gram"], "gram.damping": [0.01, 0.1]})
    assert [dict(point.settings) for point in found] == [
        {"method": "rtn"},
        {"method": "gram", "gram.damping": 0.01},
        {"method": "gram", "gram.damping": 0.1},
    ]
    assert found[2].recipe.stages == (Stage(method="gram", options={"damping": 0.1}),)


def test_keys_change_what_they_name():
    given = {
        "weights": 3, "weights.granularity": "tensor", "activations": "float", "edges": "same",
        "transforms": "equalize+smooth:alpha=0.7", "method": "gptq+bias_correction", "seed": 5,
    }  # fmt: skip
    recipe, used = changed(Recipe(), given)
    assert used == set(given)
    assert (recipe.weights.bits, recipe.weights.granularity) == (3, "tensor")
    assert recipe.activations is None
    assert recipe.edges is None
    assert recipe.transforms == ("equalize", "smooth:alpha=0.7")
    assert [stage.method for stage in recipe.stages] == ["gptq", "bias_correction"]
    assert changed(recipe, {"transforms": "none", "activations": 4})[0].activations.bits == 4


def test_several_recipes_are_told_apart(tmp_path: Path):
    for name, bits in (("narrow", 3), ("wide", 8)):
        Recipe(weights={"bits": bits}).save(tmp_path / f"{name}.toml")
    found = points(bases([tmp_path / "narrow.toml", tmp_path / "wide.toml"]), {"seed": [0, 1]})
    assert [dict(p.settings) for p in found][1:3] == [
        {"recipe": "narrow", "seed": 1},
        {"recipe": "wide", "seed": 0},
    ]


def test_all_faults_are_told_at_once():
    with pytest.raises(SweepError) as caught:
        points(USUAL, {"weight": [2], "weights.bit": [2], "grom.damping": [1], "seed": []})
    first, *others = sorted(caught.value.problems)
    assert len(others) == 3
    assert first == "'seed' has no values; give some, or leave it out"
    assert any("unknown key of a grid 'weight'; did you mean 'weights'?" in p for p in others)
    assert any("did you mean 'bits'?" in p for p in others)
    assert any("unknown method 'grom'; did you mean 'gram'?" in p for p in others)


def test_impossible_values_are_told_with_their_place():
    grid = {"weights": [4, 12, "many"], "method": ["gram", "gramm"], "gram.swoops": [1]}
    with pytest.raises(SweepError) as caught:
        points(USUAL, grid)
    problems = caught.value.problems
    assert any("weights=12, method=gram" in p for p in problems)
    assert any("'many'" in p for p in problems)
    assert any("and 2 more: unknown method 'gramm'" in p for p in problems)
    assert any("has no option 'swoops'" in p for p in problems)
    assert str(caught.value).startswith(f"{len(problems)} faults, and nothing was started: ")


def test_an_option_without_any_stage_is_a_fault():
    with pytest.raises(SweepError, match=r"'gptq\.damping' has no stage to act on"):
        points(USUAL, {"gptq.damping": [0.1]})


def test_too_many_combinations_are_refused():
    with pytest.raises(SweepError, match="has 1,000,000 combinations"):
        points(USUAL, {"seed": list(range(1000)), "augment": list(range(1000))})


def test_a_grid_that_the_model_does_not_fit_starts_nothing(tiny: workbench.Session):
    base = Recipe(overrides=({"pattern": "nowhere", "weights": 8},))
    with pytest.raises(SweepError) as caught:
        build(tiny, {"weights": [2, 3]}, {"recipe": base})
    assert len(caught.value.problems) == 1
    assert "nowhere" in caught.value.problems[0]
    assert "weights=2 and 1 more" in caught.value.problems[0]
    assert not Path("runs").exists()


def test_files(tmp_path: Path):
    path = tmp_path / "sweep.toml"
    path.write_text(
        'model = "tiny.onnx"\ndata = "d.npz"\n[recipe]\nseed = 3\n[grid]\nweights=[2]\n'
    )
    found = SweepFile.load(path)
    assert found.model == str(tmp_path / "tiny.onnx")
    assert found.data == str(tmp_path / "d.npz")
    assert found.bases()["recipe"].seed == 3
    assert found.grid == {"weights": [2]}
    path.write_text('model = "digits-vit"\ngrod = 1\n')
    with pytest.raises(RecipeError, match="sweep has no option 'grod'; its options are: data"):
        SweepFile.load(path)
    path.write_text('model = "x"\nrecipes = ["a.toml"]\n[recipe]\nseed = 1\n')
    with pytest.raises(RecipeError, match=r"both \[recipe\] and recipes"):
        SweepFile.load(path).bases()
    assert SweepFile(model="digits-vit").model == "digits-vit"


def test_the_front_is_what_nothing_beats():
    def row(score: float, size: int, state: str = "done", metric: str = "top-1"):
        return {"score": score, "bytes": size, "state": state, "metric": metric}

    rows = [row(90, 10), row(95, 20), row(94, 20), row(95, 30), row(0, 1, "failed")]
    assert [r["pareto"] for r in marked(rows)] == [True, True, False, False, False]
    bits = [row(1.5, 10, metric="bits/byte"), row(2.0, 10, metric="bits/byte")]
    assert [r["pareto"] for r in marked(bits)] == [True, False]
