"""A cured run measures what the cure has changed, and its numbers are those of a new run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import workbench
from tests.methods import nets
from workbench.analysis.causes.finding import Cure, Finding
from workbench.analysis.partial import PartialNetwork, Setting
from workbench.methods.second_order import SecondOrder
from workbench.session.causes import Proposal, bill
from workbench.session.curing import Treatment, of_run
from workbench.session.edits import edited
from workbench.session.execute import Extent
from workbench.session.runs import Run
from workbench.session.scores import Remembered

LAYERS = ["stem", "depth", "point", "mix", "head"]
EXTENT = Extent(naive=False, layers=True, verify=False, latency=False)


@pytest.fixture
def session() -> workbench.Session:
    images = nets.examples(seed=5, count=160).numpy()
    labels = np.arange(len(images)) % 5
    return workbench.open(nets.network().model, data={"x": images, "labels": labels})


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Layers that were learned, and settings that a network was run under."""
    seen: dict[str, list[Any]] = {"learned": [], "settings": []}
    solve, run = SecondOrder._layer, PartialNetwork.run

    def solved(self: SecondOrder, model: Any, stop: Any, task: Any) -> dict[str, float]:
        seen["learned"].append(stop.layer.name)
        return solve(self, model, stop, task)

    def measured(self: PartialNetwork, setting: Setting, *others: Any) -> Any:
        seen["settings"].append(setting)
        return run(self, setting, *others)

    monkeypatch.setattr(SecondOrder, "_layer", solved)
    monkeypatch.setattr(PartialNetwork, "run", measured)
    return seen


def cured(treatment: Treatment, edit: dict[str, Any]) -> None:
    """Apply an edit that helps, whatever may be found."""
    cure = Cure("wider", "8 bits", edit)
    finding = Finding("mix.w", "too few bits", 0.0, 0.0, 1.0, 0.0, (cure,), cause="few-bits")
    recipe = edited(treatment.recipe, edit)
    proposal = Proposal(1, finding, cure, recipe, bill(treatment.session, recipe))
    assert treatment.apply(proposal, "mix").kept


def test_a_cured_run_measures_what_has_changed(
    session: workbench.Session, counts: dict[str, list[Any]], tmp_path: Path
) -> None:
    recipe = session.recipe(2, 8, "gram", edges=None, calibration_examples=48)
    run = session.quantize(recipe=recipe, out=tmp_path / "sick", extent=EXTENT)
    assert counts["learned"] == LAYERS
    batches = len(counts["settings"]) // (3 + 3 * len(LAYERS))
    treatment = of_run(Run(run.directory))
    cured(treatment, {"override": {"pattern": "mix", "weights": 8}})
    assert counts["learned"] == [*LAYERS, "mix", "head"]

    counts["settings"].clear()
    made = treatment.write(tmp_path / "cured", EXTENT)
    assert counts["learned"] == [*LAYERS, "mix", "head"]
    # every part of two layers alone at most, and what accumulates
    assert 0 < len(counts["settings"]) <= batches * (3 * 2 + 3)
    alone = [setting.sites for setting in counts["settings"] if len(setting.sites) < len(LAYERS)]
    assert alone
    assert not {"x", "stem.w", "depth.w", "point.w"} & frozenset[str]().union(*alone)

    fresh = session.quantize(recipe=treatment.recipe, out=tmp_path / "fresh", extent=EXTENT)
    assert made.report()["layers"] == fresh.report()["layers"]
    assert made.report()["scores"] == fresh.report()["scores"]
    assert_equal(made, fresh)
    old, new = run.report()["layers"], made.report()["layers"]
    assert [a["layer"] for a, b in zip(old, new, strict=True) if a == b] == LAYERS[:3]


def assert_equal(one: Run, other: Run) -> None:
    """The same state, and the same things reported of each layer."""
    states = one.model.state(), other.model.state()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    said = [
        [(e["site"], e["values"]) for e in run.events() if e["kind"] == "layer"]
        for run in (one, other)
    ]
    assert said[0] == said[1]


def test_a_state_from_elsewhere_is_not_built_upon(
    session: workbench.Session, counts: dict[str, list[Any]], tmp_path: Path
) -> None:
    recipe = session.recipe(2, 8, "gram", edges=None, calibration_examples=48)
    run = session.quantize(recipe=recipe, out=tmp_path / "sick", extent=EXTENT)
    run.files.update_run(digest="")  # as where a state was learned in a loop of one's own
    treatment = of_run(Run(run.directory))
    counts["learned"].clear()
    cured(treatment, {"override": {"pattern": "mix", "weights": 8}})
    assert counts["learned"] == LAYERS


def test_answers_are_remembered_up_to_a_limit() -> None:
    seen: list[torch.Tensor] = []

    def model(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        seen.append(x)
        return (x + 1,)

    remembered = Remembered(model, most=16)
    small, large = torch.zeros(4), torch.zeros(5)
    for x in (small, large, small.clone(), large):
        assert torch.equal(remembered(x)[0], x + 1)
    assert [len(x) for x in seen] == [4, 5, 5]
