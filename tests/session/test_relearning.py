"""Learning again after an edit ends as learning everything would, and does less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import workbench
from tests.methods import nets
from workbench.methods.calibrate import Observers
from workbench.methods.second_order import SecondOrder
from workbench.session.edits import edited
from workbench.session.execute import learned
from workbench.session.recipe import Recipe
from workbench.session.relearning import Learned

EXAMPLES = 48
LAYERS = ("stem", "depth", "point", "mix", "head")
WIDER = {"override": {"pattern": "mix", "weights": 8}}
FLOAT = {"override": {"pattern": "mix", "weights": 0}}
FINER = {"override": {"pattern": "tensor:point", "activations": 16}}


@pytest.fixture(scope="module")
def session() -> workbench.Session:
    images = nets.examples(seed=5, count=160).numpy()
    labels = np.arange(len(images)) % 5
    return workbench.open(nets.network().model, data={"x": images, "labels": labels})


def recipe(session: workbench.Session, method: str, **more: Any) -> Recipe:
    options = more.pop("options", {})
    found = session.recipe(3, 8, "rtn", edges=None, calibration_examples=EXAMPLES)
    stages = [{"method": name, "options": options.get(name, {})} for name in method.split("+")]
    return found.changed(stages=tuple(stages), **more)


def assert_equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.fixture
def visits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Layers that second-order methods have solved."""
    seen: list[str] = []
    solve = SecondOrder._layer

    def counted(self: SecondOrder, model: Any, stop: Any, task: Any) -> dict[str, float]:
        seen.append(stop.layer.name)
        return solve(self, model, stop, task)

    monkeypatch.setattr(SecondOrder, "_layer", counted)
    return seen


def again(session: workbench.Session, before: Learned, edit: Mapping[str, Any]) -> Learned:
    """The edited recipe, learned on top of what was learned before; equal to learning it all."""
    changed = edited(before.recipe, edit)
    whole = learned(session, changed)
    found = learned(session, changed, before)
    for one, other in zip(found.states, whole.states, strict=True):
        assert one is not None
        assert other is not None
        assert_equal(one, other)
    assert_equal(found.model.state(), whole.model.state())
    return found


@pytest.mark.parametrize("edit", [WIDER, FLOAT, FINER], ids=["wider", "float", "finer"])
@pytest.mark.parametrize("method", ["rtn", "gptq", "rtn+bn_reestimation", "adaround", "brecq"])
def test_equals_learning_everything(
    session: workbench.Session, method: str, edit: dict[str, Any]
) -> None:
    few = {"iterations": 3, "batch_size": 16}
    options = {"adaround": few, "brecq": few}
    before = learned(session, recipe(session, method, options=options))
    again(session, before, edit)


def test_a_walk_learns_from_the_change_on(session: workbench.Session, visits: list[str]) -> None:
    before = learned(session, recipe(session, "gram+bias_correction"))
    assert visits == list(LAYERS)
    visits.clear()
    found = again(session, before, WIDER)
    assert visits == [*LAYERS, "mix", "head"]
    reported = [e["site"] for e in found.events if e["kind"] == "layer" and e["stage"] == 0]
    assert reported == list(LAYERS)
    visits.clear()
    again(session, found, {"override": {"pattern": "stem", "weights": 8}})
    assert visits == [*LAYERS, *LAYERS]


def test_the_stages_before_a_new_one_stand(session: workbench.Session, visits: list[str]) -> None:
    before = learned(session, recipe(session, "gram"))
    visits.clear()
    again(session, before, {"append": "bias_correction"})
    assert visits == list(LAYERS)  # those of learning everything
    visits.clear()
    again(session, before, {"options": {"damping": 0.5}})
    assert visits == [*LAYERS, *LAYERS]


def test_nearest_rounding_looks_at_changed_sites_only(
    session: workbench.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = learned(session, recipe(session, "rtn"))
    seen: list[int] = []
    see = Observers.see
    monkeypatch.setattr(Observers, "see", lambda o, b: (seen.append(len(o)), see(o, b))[1])
    changed = edited(before.recipe, WIDER)
    found = learned(session, changed, before)
    assert seen == []  # no activation has changed, so no batch was looked at
    assert_equal(found.model.state(), learned(session, changed).model.state())
    seen.clear()
    finer = learned(session, edited(changed, FINER), found)
    assert set(seen) == {1}
    assert_equal(finer.model.state(), learned(session, finer.recipe).model.state())


def test_other_data_are_another_ground(session: workbench.Session, visits: list[str]) -> None:
    before = learned(session, recipe(session, "gram"))
    for edit in ({"calibration_examples": 32}, {"transform": "equalize"}):
        visits.clear()
        again(session, before, edit)
        assert visits == [*LAYERS, *LAYERS]


def test_a_state_that_was_not_kept_is_learned(session: workbench.Session) -> None:
    whole = learned(session, recipe(session, "gram+bias_correction"))
    only_last = replace(whole, states=(None, whole.states[-1]))
    again(session, only_last, WIDER)


def test_weights_of_a_recurrence(visits: list[str]) -> None:
    images = nets.examples(seed=5, count=160).numpy()
    session = workbench.open(nets.recurrent().model, data={"x": images})
    before = learned(session, recipe(session, "gram"))
    visits.clear()
    again(session, before, {"override": {"pattern": "tensor:gru.r", "weights": 8}})
    assert visits == ["gru", "head", "gru", "head"]
    visits.clear()
    again(session, before, {"override": {"pattern": "head", "weights": 8}})
    assert visits == ["gru", "head", "head"]
