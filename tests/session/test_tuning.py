"""What single layers are asked for: seen by what-if at once, and by every run that is made."""

from __future__ import annotations

import pytest
import torch

import workbench
from tests.methods import nets
from workbench.foundation.errors import RecipeError
from workbench.maths.ranges import weight_range
from workbench.session.execute import Extent
from workbench.session.recipe import Recipe
from workbench.ui.gradio.recipe_form import Form

QUICK = Extent(naive=False, layers=False, verify=False, latency=False, examples=16)
EXAMPLES = 48


@pytest.fixture
def session() -> workbench.Session:
    images = nets.examples(seed=5, count=160).numpy()
    return workbench.open(nets.network().model, data={"x": images})


def learned(session: workbench.Session, method: str = "gram") -> workbench.Run:
    return session.quantize(4, 8, method, extent=QUICK, calibration_examples=EXAMPLES)


def test_what_if_follows_what_a_layer_is_tuned_to(session: workbench.Session) -> None:
    session.tune("mix", bits=2, method="nearest", calibrator="minmax", share=0.6)
    (tuned,) = session.what_if("mix", examples=EXAMPLES)
    explicit = {"method": "nearest", "calibrator": "minmax", "share": 0.6, "examples": EXAMPLES}
    assert [tuned] == session.what_if("mix", 2, **explicit)
    (usual,) = session.what_if("mix", 4, **{**explicit, "calibrator": "mse", "share": 1.0})
    assert usual.sqnr_db > tuned.sqnr_db + 6
    others = {answer.layer: answer for answer in session.what_if(examples=EXAMPLES)}
    assert others["mix"] == tuned
    assert "4" in others["stem"].grid
    session.tune("mix", bits=None, method="", calibrator="mse", share=1.0)
    assert session.tuned == {}


def test_a_run_has_the_bits_and_the_range_that_were_tuned(session: workbench.Session) -> None:
    session.tune("mix", bits=2, method="nearest", calibrator="minmax", share=0.6)
    session.tune("point", bits=3)
    run = learned(session)
    assert [(s.method, s.layers) for s in run.recipe.stages] == [
        ("rtn", ()),
        ("rtn", ("mix",)),
        ("gram", ("stem", "depth", "point", "head")),
    ]
    sites = {site.layer: site for site in run.model.of_kind("weight")}
    assert (sites["mix"].grid.bits, sites["point"].grid.bits) == (2, 3)
    frozen = run.model.frozen()[sites["mix"].name]
    weight = run.model.weight(sites["mix"].name)
    low, high = weight_range(weight, sites["mix"].grid, "minmax")
    widest = torch.maximum(-low, high)
    torch.testing.assert_close(frozen.scale, 0.6 * widest / 1.5)
    (asked,) = session.what_if("mix", examples=EXAMPLES)
    assert asked.scale == pytest.approx(frozen.scale.flatten().tolist())


def test_layers_that_a_stage_leaves_alone_stay_bit_for_bit(session: workbench.Session) -> None:
    nearest = learned(session, "rtn")
    session.tune("mix", method="gptq")
    run = learned(session, "rtn")
    changed = [
        site.layer
        for site in run.model.of_kind("weight")
        if not torch.equal(
            run.model.frozen()[site.name].values(), nearest.model.frozen()[site.name].values()
        )
    ]
    assert changed == ["mix"]
    assert {e["site"] for e in run.events() if e.get("method") == "gptq" and e.get("site")} == {
        "mix"
    }


def test_a_tuned_recipe_is_all_that_a_run_needs(session: workbench.Session) -> None:
    session.tune("head", method="gram")
    session.tune("stem", bits=8, method="nearest")
    recipe = session.recipe(4, 8, "gptq")
    assert Recipe.from_toml(recipe.toml()) == recipe
    assert Form.of(recipe).recipe() == recipe
    assert recipe.stages[-1].layers == ("head",)


def test_what_cannot_be_tuned_is_said(session: workbench.Session) -> None:
    for changes in ({"bits": 9}, {"method": "lsq"}, {"share": 0.0}, {"colour": "red"}):
        with pytest.raises(RecipeError):
            session.tune("mix", **changes)
    with pytest.raises(RecipeError, match="nearest rounding"):
        session.tune("mix", method="gram", share=0.5)
    with pytest.raises(RecipeError, match="mixx"):
        session.tune("mixx", bits=3)
    assert session.tuned == {}
    session.tune("mix", method="gram")
    with pytest.raises(RecipeError, match="more than one layer"):
        session.recipe(4, 8, "brecq")


def test_stages_for_some_layers_are_checked(session: workbench.Session) -> None:
    first = {"stages": [{"method": "gram", "layers": ["mix"]}]}
    with pytest.raises(RecipeError, match="without a range"):
        Recipe(**first)
    with pytest.raises(RecipeError, match="more than one layer"):
        Recipe(stages=[{"method": "rtn"}, {"method": "qdrop", "layers": ["mix"]}])
    recipe = Recipe(stages=[{"method": "rtn"}, {"method": "gram", "layers": ["mixx"]}])
    with pytest.raises(RecipeError, match="mixx"):
        session.work(recipe)
