"""Readings say what is in the tensors: counted by hand here."""

from __future__ import annotations

import json
import math

import pytest
import torch

from tests.methods.nets import BATCH, examples, network, quantized, task
from workbench.maths.grid import Granularity, Grid
from workbench.maths.histogram import Histogram
from workbench.methods.base import Event, SiteSignals, Task
from workbench.methods.readings import (
    MOST,
    Thinned,
    arriving,
    clipped,
    gathered,
    gradients,
    latent,
    nearest,
    of_histogram,
    of_weight,
    reading,
)
from workbench.methods.registry import make
from workbench.quantizers.binary import Binary
from workbench.quantizers.codes import Codes
from workbench.quantizers.rounding import Rounding, inverse_rectified_sigmoid
from workbench.quantizers.table import Table
from workbench.quantizers.uniform import Uniform


def test_range_and_clipped_share_of_an_activation() -> None:
    found = Uniform(Grid(2, signed=False, symmetric=False), (0, 4))
    found.set_affine(torch.tensor(0.5), torch.tensor(1.0))  # levels -0.5, 0, 0.5, 1
    x = torch.tensor([-1.0, -0.7, 0.0, 1.2, 1.3, 9.0, math.nan, 0.5])
    assert reading(found, x) == {"clipped": 0.5, "scale": 0.5, "zero_point": 1.0}


def test_channels_give_mean_least_and_largest() -> None:
    found = Uniform(Grid(4, granularity=Granularity("channel", 0)), (2, 3))
    found.set_affine(torch.tensor([0.25, 0.75]), torch.zeros(2))
    values = reading(found, torch.zeros(2, 3))
    assert values == {"clipped": 0.0, "scale": 0.5, "scale_min": 0.25, "scale_max": 0.75}


def test_a_table_clips_beyond_its_ends() -> None:
    found = Table(Grid(4, signed=False, table="nf4"), (4,))
    ends = found.levels
    assert ends is not None
    x = torch.tensor([float(ends[0]) - 1, 0.0, float(ends[-1]), float(ends[-1]) + 0.1])
    assert clipped(found, x) == 0.5


def test_weights_around_their_levels_are_counted_by_hand() -> None:
    found = Uniform(Grid(3), (0,))
    found.set_affine(torch.tensor(0.5), torch.tensor(0.0))  # levels -2 to 1.5
    w = torch.tensor([0.01, 0.49, 0.26, 0.24, -1.99, -2.17, -2.3, 1.72, 4.0])
    places = [0.02, -0.02, -0.48, 0.48, 0.02, -0.34, None, 0.44, None]  # None: clipped
    expected = [0] * 10
    for place in places:
        if place is not None:
            expected[math.floor(10 * (place + 0.5))] += 1
    assert latent(found, w) == tuple(expected)


def test_two_levels_are_two_codes_apart() -> None:
    found = Binary(Grid(1), (0,))
    w = torch.tensor([0.3, -0.3, 1.0, -1.0, 1.0, 2.4])  # 1.0 is the mean magnitude
    assert latent(found, w) == (0, 1, 0, 0, 0, 3, 0, 0, 1, 0)
    assert clipped(found, w) == pytest.approx(1 / 6)


def test_counted_values_give_what_the_values_give() -> None:
    found = Uniform(Grid(4, signed=False, symmetric=False), (0, 8))
    found.set_affine(torch.tensor(0.1), torch.tensor(3.0))
    x, seen = torch.randn(4096), Histogram()
    seen.add(x)
    ours, theirs = of_histogram(found, seen).values, reading(found, x)
    assert ours["clipped"] == pytest.approx(theirs["clipped"], abs=5e-3)
    assert ours["scale"] == pytest.approx(theirs["scale"])
    assert ours["zero_point"] == theirs["zero_point"]


def test_codes_that_moved_and_roundings_still_open() -> None:
    weight = torch.tensor([[0.2, 0.8, 1.4, -0.6]])
    learner = Rounding(Grid(4), (1, 4))
    learner.set_affine(torch.tensor(1.0), torch.tensor(0.0))
    start = nearest(learner, weight)
    learner.start(weight)
    h = torch.tensor([[0.0, 1.0, 0.55, 0.995]])
    learner.v.data.copy_(inverse_rectified_sigmoid(h))
    found = of_weight(learner, weight, start)
    assert found.values["open"] == 0.25
    assert found.values["flips"] == 0.5  # 1.4 goes up, and -0.6 from its floor -1 to 0
    assert found.counts["h"] == (1, 0, 0, 0, 0, 1, 0, 0, 0, 2)


def test_a_unit_is_the_mean_of_its_weights() -> None:
    sites = {
        "a": SiteSignals({"flips": 0.5, "scale": 1.0}, {"h": (1, 2)}),
        "b": SiteSignals({"flips": 0.1, "scale": 3.0, "open": 0.2}, {"h": (3, 4)}),
        "x": SiteSignals({"scale": 100.0}),
    }
    values, counts = gathered(sites, {"a": 30, "b": 10})
    assert values == {"flips": 0.4, "open": 0.2, "scale": 1.5}
    assert counts == {"h": (4, 6)}


def test_gradients_are_joined_by_site() -> None:
    one, two, none = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    one.grad, two.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert gradients([("a", one), ("a", two), ("b", none)]) == {"a": 5.0, "b": 0.0}


def test_what_arrives_is_looked_at_only_meanwhile() -> None:
    model = quantized(network(), bits=4, activations=4)
    for _ in make("rtn").learn(model, task()):
        pass
    own = [site.name for site in model.of_kind("activation") if site.shares is None]
    with torch.no_grad(), arriving(model, own) as seen:
        model(examples())
    assert set(seen) == set(own)
    before = dict(seen)
    with torch.no_grad():
        model(examples() * 100)
    assert seen == before


def test_a_stage_records_a_bounded_number_of_readings() -> None:
    sites = {f"s{k}": SiteSignals() for k in range(100)}
    thinned = Thinned(reports=1000)
    kept = [len(thinned.next(sites)) for _ in range(1000)]
    assert kept[0] == 100
    assert MOST / 2 < sum(kept) <= MOST
    small = Thinned(reports=10)
    assert all(small.next(sites) for _ in range(10))


def test_records_are_short() -> None:
    event = Event("step", "m", 0, "stem", values={"loss": 1 / 3}, sites={"w": SiteSignals()})
    assert event.record() == {
        "kind": "step",
        "method": "m",
        "stage": 0,
        "site": "stem",
        "step": 0,
        "total": 0,
        "values": {"loss": 0.33333},
    }


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("rtn", {}, {"clipped", "scale"}),
        ("gram", {}, {"clipped", "scale", "flips"}),
        ("qdrop", {"iterations": 2}, {"clipped", "scale", "flips", "open", "gradient"}),
        ("lsq", {"epochs": 1}, {"clipped", "scale", "flips", "gradient"}),
    ],
)
def test_every_weight_is_reported(name: str, options: dict, wanted: set[str]) -> None:
    model = quantized(network(), bits=3, activations=4)
    inputs = examples(count=80)
    given = Task(lambda: ((part,) for part in inputs.split(BATCH)), 80)
    events = list(make(name, options).learn(model, given))
    seen = {site: set(found.values) for event in events for site, found in event.sites.items()}
    for site in model.of_kind("weight"):
        assert wanted <= seen[site.name]
    assert sum(len(json.dumps(event.record())) for event in events) < 40_000
    if name in ("qdrop", "lsq"):
        assert any("held_out" in event.values for event in events)
        assert any(model.sites[site].kind == "activation" for site in seen if site in model.sites)


def test_lsq_keeps_the_last_good_epoch_when_numbers_overflow() -> None:
    model = quantized(network(), bits=4)
    events = list(make("lsq", {"epochs": 3, "learning_rate": 1.0}).learn(model, task()))
    (note,) = [event for event in events if event.concern]
    assert note.concern == "diverged"
    with torch.no_grad():
        assert bool(model(examples())[0].isfinite().all())


def test_codes_that_were_chosen_are_held_against_the_nearest() -> None:
    model = quantized(network(), bits=3)
    for _ in make("gram").learn(model, task()):
        pass
    quantizer, weight = model.quantizer("head.w"), model.weight("head.w").detach()
    assert isinstance(quantizer, Codes)
    share = float((quantizer.chosen != nearest(quantizer, weight)).float().mean())
    assert of_weight(quantizer, weight, nearest(quantizer, weight)).values["flips"] == share
