"""Bits chosen for a session: budgets, pins, ties, and recipes that can be run."""

from __future__ import annotations

import json

import pytest

import workbench
from tests.methods import nets
from workbench.deploy.latency_table import LatencyTable, LayerTime
from workbench.foundation.errors import RecipeError
from workbench.graph.costs import costs
from workbench.graph.sites import layers
from workbench.session import bit_costs
from workbench.session.allocation import RESOURCES, Budgets, within
from workbench.session.execute import Extent, build

FAST = {"examples": 16, "judged": 32}
QUICK = Extent(naive=False, layers=False, verify=False, latency=False)


def open_recipe(session: workbench.Session, **fields) -> workbench.Recipe:
    return session.recipe(4, 8, "rtn", edges=None, **fields)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("method", ["milp", "hawq", "cem", "evolution", "haq"])
def test_every_method_keeps_the_budget_and_is_no_worse_than_uniform(tiny, method: str) -> None:
    found = tiny.allocate(
        open_recipe(tiny),
        {"average_bits": 4},
        method=method,
        search={"rounds": 1, "population": 4},
        **FAST,
    )
    assert found.chosen.costs["average_bits"] <= 4 * (1 + 1e-9)
    uniform = next(c for c in found.uniform if c.name == "uniform 4")
    assert found.chosen.kl <= uniform.kl
    assert found.sentence().startswith("average bits ")
    record = json.loads(json.dumps(found.record()))
    assert record["chosen"]["bits"] == dict(found.chosen.bits)


def test_the_recipe_has_the_bits_and_runs(tiny, tmp_path) -> None:
    found = tiny.allocate(open_recipe(tiny), {"average_bits": 4.5}, sensitivity="exact", **FAST)
    model = build(tiny, found.recipe)
    asked = {name: model.asked[name].bits for name in found.chosen.bits}
    assert asked == dict(found.chosen.bits)
    assert workbench.Recipe.from_toml(found.recipe.toml()) == found.recipe
    learned = found.recipe.changed(stages=({"method": "gram"},))
    run = tiny.quantize(recipe=learned, out=tmp_path / "run", extent=QUICK)
    assert run.scores["onnxruntime"]["agreement_with_simulation"] > 90


def test_pins_and_overrides_of_the_recipe_are_left_alone(tiny) -> None:
    base = open_recipe(tiny)
    conv, linear = (layer.name for layer in layers(tiny.graph))
    found = tiny.allocate(base, {"bytes": 200}, pins={conv: 6}, **FAST)
    assert len(found.chosen.bits) == 1
    model = build(tiny, found.recipe)
    held = {site.layer: model.asked[site.name].bits for site in model.of_kind("weight")}
    assert held[conv] == 6
    assert found.chosen.costs["bytes"] <= 200
    with pytest.raises(RecipeError, match="no weight has a choice"):
        tiny.allocate(base, {"bytes": 200}, pins={conv: 6, linear: 3}, **FAST)


def test_costs_are_those_of_the_shapes(tiny) -> None:
    found = tiny.allocate(open_recipe(tiny), {"average_bits": 4}, **FAST)
    four = next(c for c in found.uniform if c.name == "uniform 4").costs
    values = {"conv": 6 * 9, "linear": 24 * 4}
    scales = 6 + 4
    assert four["average_bits"] == 4
    assert four["bytes"] == sum(values.values()) / 2 + 4 * scales
    assert four["file_bytes"] == four["bytes"]
    macs = values["conv"] * 64 + values["linear"]
    assert four["bops"] == pytest.approx(macs * 4 * 8 / 1e6)
    seven = next(c for c in found.uniform if c.name == "uniform 7").costs
    five = next(c for c in found.uniform if c.name == "uniform 5").costs
    assert five["file_bytes"] == seven["file_bytes"]  # both lie in 8-bit containers
    assert five["bytes"] < seven["bytes"]


def test_a_sweep_takes_its_knee_where_no_budget_is_given(tiny) -> None:
    found = tiny.allocate(open_recipe(tiny), points=5, **FAST)
    costs = [point.costs["average_bits"] for point in found.points]
    assert costs == sorted(costs)
    assert found.resource == "average_bits"
    index = len(found.points) // 2 if found.knee is None else found.knee
    assert found.chosen.bits == found.points[index].bits
    overrides = found.recipe_of(found.points[0]).overrides
    assert {o.weights for o in overrides} == {2}


def test_ties_give_equal_bits(tiny) -> None:
    found = tiny.allocate(open_recipe(tiny), {"average_bits": 3}, ties="both", pairs=True, **FAST)
    assert found.chosen.costs["average_bits"] <= 3


def test_rounding_in_closed_form_is_no_worse_than_nearest(tiny) -> None:
    near, gram = (
        tiny.allocate(open_recipe(tiny), {"average_bits": 3}, rounding=name, sensitivity="exact",
                      examples=48, judged=48)
        for name in ("nearest", "gram")
    )  # fmt: skip
    total = [sum(row[2] for row in found.sensitivities.values()) for found in (near, gram)]
    assert total[1] < total[0]


def test_latency_is_measured_once_and_kept(tiny, monkeypatch) -> None:
    monkeypatch.setattr(bit_costs, "REPEATS", 2)
    found = tiny.allocate(open_recipe(tiny), {"latency_ms": 1000}, **FAST)
    assert found.chosen.costs["latency_ms"] > 0
    monkeypatch.setattr(bit_costs, "measure", None)  # a second measurement would fail
    again = tiny.allocate(open_recipe(tiny), {"latency_ms": 1000}, **FAST)
    assert again.chosen.costs["latency_ms"] == found.chosen.costs["latency_ms"]


def test_widths_and_layers_that_were_not_timed_are_interpolated() -> None:
    rows = {
        "a": LayerTime("Conv", 100, {4: 4.0, 8: 1.0}),
        "b": LayerTime("Conv", 300, {4: 8.0, 8: 3.0}),
        "lost": LayerTime("Conv", 200, {}),
    }
    table = LatencyTable(rows, 0.5, {2: 4, 3: 4, 4: 4, 8: 8}, {})
    assert table.at("a", 3) == 4.0  # the same container as 4 bits
    assert table.at("a", 6) == 2.5  # none: between its neighbours
    assert table.at("lost", 8) == 2.0  # between layers of its operator
    again = LatencyTable.from_record(json.loads(json.dumps(table.record())))
    assert again == table


@pytest.mark.parametrize(
    ("budgets", "options", "words"),
    [
        ({}, {}, "no budget"),
        ({"average_bits": 1.5}, {}, "least that a choice can cost is 2"),
        ({"speed": 1}, {}, "budgets has no option 'speed'"),
        ({"average_bits": 4}, {"method": "magic"}, "method"),
        ({"average_bits": 4}, {"rounding": "lsq"}, "give one of nearest"),
        ({"average_bits": 4}, {"least": 8, "most": 8}, "no weight has a choice"),
    ],
)
def test_what_cannot_be_is_refused(tiny, budgets, options, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        tiny.allocate(open_recipe(tiny), budgets, **{**FAST, **options})


def test_every_resource_has_a_budget_and_a_name() -> None:
    assert set(Budgets.model_fields) == set(RESOURCES)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_bits_on_average_come_halfway_to_four(tmp_path) -> None:
    """digits-mobilenet, nearest rounding, all held-out digits."""
    session = workbench.open("digits-mobilenet")

    def score(recipe: workbench.Recipe, name: str) -> float:
        run = session.quantize(recipe=recipe, out=tmp_path / name, extent=QUICK)
        return run.scores["learned"]["score"]

    three, four = (session.recipe(bits, 8, "rtn") for bits in (3, 4))
    mixed = session.allocate(three, {"average_bits": 3}).recipe
    assert score(mixed, "mixed") >= (score(three, "three") + score(four, "four")) / 2


@pytest.fixture(scope="module")
def several() -> workbench.Session:
    """A network whose layers read several activations, one of them twice."""
    images = nets.examples(seed=5, count=160).numpy()
    return workbench.open(nets.network().model, data={"x": images})


@pytest.mark.parametrize("sensitivity", ["fisher", "exact"])
def test_activations_get_bits_too(several, sensitivity: str) -> None:
    base = several.recipe(4, 8, "rtn", edges=None, calibration_examples=48)
    both = {"activations": (4, 8), "sensitivity": sensitivity, "ties": "residual", **FAST}
    both |= {"least": 3, "most": 5}
    limits = {"average_bits": 4, "bops": 0.5}
    ample = several.allocate(base, {"average_bits": 4, "bops": 1e6}, **both)
    limits["bops"] = 0.6 * ample.chosen.costs["bops"]
    found = several.allocate(base, limits, **both)
    weights = [name for name in found.chosen.bits if name not in found.activations]
    assert {"x", "stem.relu", "depth.relu"} <= set(found.activations)
    assert found.chosen.costs["bops"] <= limits["bops"] * (1 + 1e-9)
    assert {found.chosen.bits[name] for name in found.activations} <= {4, 8}
    assert min(found.chosen.bits[name] for name in found.activations) == 4
    model = build(several, found.recipe)
    assert {n: model.asked[n].bits for n in found.chosen.bits} == dict(found.chosen.bits)
    own = costs(model.graph, model.sites.values())
    bops = sum(own[name].products * model.asked[name].bits for name in weights) / 1e6
    assert found.chosen.costs["bops"] == pytest.approx(bops)
    assert found.chosen.bits["point.w"] == found.chosen.bits["stem.w"]  # which meet in a sum
    same = [c for c in found.uniform if c.name == "uniform 4, activations 4"]
    assert same[0].costs["bytes"] == next(
        c.costs["bytes"] for c in found.uniform if c.name == "uniform 4, activations 8"
    )
    assert found.chosen.kl == min(c.kl for c in (*found.uniform, found.chosen)
                                  if within(c, limits))  # fmt: skip


def test_what_activations_do_not_go_with(several) -> None:
    base = several.recipe(4, 8, "rtn", edges=None, calibration_examples=48)
    with pytest.raises(RecipeError, match="only under a budget of bit operations"):
        several.allocate(base, {"average_bits": 4.0}, activations=(4, 8))
    with pytest.raises(RecipeError, match="points was 100000"):
        several.allocate(base, points=100_000)
    for more in ({"method": "haq"}, {"sensitivity": "hawq"}):
        with pytest.raises(RecipeError, match="are of weights"):
            several.allocate(base, {"bops": 1.0}, activations=(4, 8), **more)
    with pytest.raises(RecipeError, match="float in this recipe"):
        several.allocate(
            several.recipe(4, None, "rtn", target="weight-only"), {"bops": 1.0}, activations=(4, 8)
        )


def test_narrow_activations_are_timed(several, monkeypatch) -> None:
    monkeypatch.setattr(bit_costs, "REPEATS", 2)
    base = several.recipe(4, 8, "rtn", edges=None, calibration_examples=48)
    both = {"activations": (4, 8), "least": 4, "most": 5, **FAST}
    found = several.allocate(base, {"latency_ms": 1000}, **both)
    assert found.chosen.costs["latency_ms"] > 0
    monkeypatch.setattr(bit_costs, "measure", None)  # what was measured is kept
    again = several.allocate(base, {"latency_ms": 1000}, **both)
    assert again.chosen.costs["latency_ms"] == found.chosen.costs["latency_ms"]
