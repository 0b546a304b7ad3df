"""Illnesses that were put in are named, and cured to the healthy score."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import workbench
from tests.deploy import saturating, small
from tests.session import planted
from workbench.deploy import runtime
from workbench.foundation.errors import RecipeError
from workbench.session.causes import bill, causes, examined
from workbench.session.curing import Treatment, of_run
from workbench.session.edits import edited
from workbench.session.execute import Extent
from workbench.session.recipe import Recipe

POINT = 1.0


def _cured(session: workbench.Session, recipe: Recipe, cause: str, site: str) -> Treatment:
    """The cause is named first, and curing goes to within a point of the healthy score."""
    healthy = Treatment(planted.healthy(), recipe, examples=planted.JUDGING)
    sick = Treatment(session, recipe, examples=planted.JUDGING)
    assert sick.now.score < healthy.now.score - POINT
    first = sick.causes().findings[0]
    assert (first.cause, first.site) == (cause, site)
    assert first.after < 0.2 * first.before
    sick.auto()
    assert sick.now.score >= healthy.now.score - POINT
    assert sick.steps[0].cause == cause
    return sick


def test_a_loud_channel_of_a_depthwise_layer() -> None:
    recipe = planted.recipe(6, 6, "tensor")
    found = _cured(planted.loud_channel(), recipe, "channel-scales", "blocks.2.depthwise.weight")
    assert found.recipe.weights.granularity == "channel" or "equalize" in found.recipe.transforms
    assert found.now.bytes == found.steps[0].before.bytes


def test_one_huge_value() -> None:
    _cured(planted.spike(), planted.recipe(8, 6), "outlier-value", "spiked.out")


def test_calibration_without_normalisation() -> None:
    session = planted.not_normalised()
    found = _cured(session, planted.recipe(8, 5), "calibration-data", "image")
    assert found.steps[0].edit == {"data": "held-out"}
    assert session.data.pool


def test_a_cure_is_a_run_like_any_other(tiny: workbench.Session, tmp_path: Path) -> None:
    recipe = tiny.recipe(3, 8, "rtn", edges=None, calibration_examples=32)
    found = tiny.causes(recipe)
    record = found.record()
    json.dumps(record)
    assert [cure["number"] for cure in record["cures"]] == list(range(1, len(record["cures"]) + 1))
    number = next(c["number"] for c in record["cures"] if c["name"] == "8-bit")
    treatment = tiny.cure(recipe, found.layer, number)
    (step,) = treatment.steps
    assert step.kept
    assert step.after.kl < step.before.kl
    assert step.after.bytes > step.before.bytes
    run = treatment.write(tmp_path / "run", Extent(False, False, False, False, 32))
    assert run.state == "done"
    assert run.recipe == treatment.recipe
    assert json.loads(run.files.story.read_text())["steps"][0]["kept"]


def test_what_does_not_help_is_dropped(tiny: workbench.Session) -> None:
    recipe = tiny.recipe(8, 8, "rtn", edges=None, calibration_examples=32)
    treatment = Treatment(tiny, recipe, examples=32)
    network = examined(tiny, recipe)
    place = causes(tiny, recipe, network, network.worst(1)[0])
    for proposal in place.proposals[:1]:
        worse = proposal.recipe.changed(weights={"bits": 2})
        step = treatment.apply(dataclasses.replace(proposal, recipe=worse))
        assert not step.kept
        assert treatment.recipe == recipe


def test_unknown_layers_and_cures(tiny: workbench.Session) -> None:
    recipe = tiny.recipe(3, 8, "rtn", edges=None, calibration_examples=32)
    with pytest.raises(RecipeError, match="'nothing'"):
        tiny.causes(recipe, "nothing")
    with pytest.raises(RecipeError, match="cure was 99"):
        tiny.cure(recipe, "", 99)
    treatment = Treatment(tiny, recipe, examples=32)
    with pytest.raises(RecipeError, match="score was 150; it is a percentage"):
        treatment.auto(score=150.0)
    with pytest.raises(RecipeError, match="budget was -1"):
        treatment.auto(budget=-1)


def test_no_cure_exceeds_the_budget(tiny: workbench.Session) -> None:
    recipe = tiny.recipe(2, 8, "rtn", edges=None, calibration_examples=32)
    treatment = Treatment(tiny, recipe, examples=48)
    budget = treatment.now.bytes
    treatment.auto(score=100.0, budget=budget)
    assert treatment.now.bytes <= budget
    assert treatment.end
    treatment.auto(score=100.0, budget=0)
    assert "no cure fits 0 bytes: the recipe itself takes" in treatment.end


def test_saturating_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    inputs = saturating.data(64).numpy()
    session = workbench.open(small.two_matmuls(saturating.WIDTH), data={"x": inputs})
    recipe = session.recipe(8, 8, "rtn", edges=None, target="ort-cpu-vnni", calibration_examples=16)
    run = session.quantize(
        recipe=recipe, out=tmp_path / "run", extent=Extent(False, False, False, False)
    )
    monkeypatch.setattr(runtime, "open_session", _saturating_kernels(runtime.open_session))
    treatment = of_run(run, examples=48)
    first = treatment.causes().findings[0]
    assert first.cause == "saturation"
    assert first.after < 0.2 * first.before
    treatment.auto()
    assert treatment.recipe.target == "ort-cpu"
    step = treatment.steps[0]
    assert step.cause == "saturation"
    assert step.kept
    assert step.after.kl < 0.25 * step.before.kl, [s.line() for s in treatment.steps]


def _saturating_kernels(open_session: Callable[..., Any]) -> Callable[..., Any]:
    """As on a processor whose default kernels saturate."""

    def opened(model: runtime.Model, **options: Any) -> Any:
        given = model if options.get("exact") else saturating.saturating(model)
        return open_session(given, **options)

    return opened


def test_bits_of_attention_cost_operations() -> None:
    session = workbench.open("digits-vit")
    recipe = session.recipe(4, 4, "rtn", target="ort-cpu-vnni")
    edit = {"override": {"pattern": "tensor:blocks.1.attention.softmax", "activations": 8}}
    narrow, wide = (bill(session, r) for r in (recipe, edited(recipe, edit)))
    assert wide.bytes == narrow.bytes
    assert wide.bops - narrow.bops == (8 - 4) * 4 * _attention_macs(session)


def _attention_macs(session: workbench.Session) -> int:
    """Of softmax times values in one block."""
    nodes = session.graph.model.graph
    reads = (
        n for n in nodes if any(v and v.name == "blocks.1.attention.softmax" for v in n.inputs)
    )
    node = next(n for n in reads if n.op_type == "MatMul")
    shapes = [[int(size) for size in v.shape[1:]] for v in node.inputs if v and v.shape]
    (heads, rows, summed), (_, _, width) = shapes
    return heads * rows * summed * width


def test_oscillation_that_a_run_recorded(tiny: workbench.Session, tmp_path: Path) -> None:
    recipe = tiny.recipe(
        2, 8, "lsq", edges=None, calibration_examples=32, epochs=2, learning_rate=0.05
    )
    extent = Extent(False, False, False, False)
    run = tiny.quantize(recipe=recipe, out=tmp_path / "run", extent=extent)
    treatment = of_run(run, examples=32)
    weights = {site.name for site in run.model.of_kind("weight")}
    found = dict(treatment.network.oscillating)
    assert set(found) == weights
    anew = Treatment(tiny, recipe, examples=32)
    assert anew.network.oscillating == pytest.approx(found, abs=1e-3)
    assert treatment.extent == extent
