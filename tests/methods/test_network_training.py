"""The loop of training: what its steps depend on, what it notices, and that it goes on exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from tests.methods.nets import examples, network, quantized, task
from workbench.foundation.errors import RecipeError
from workbench.methods.base import Event
from workbench.methods.network_plan import Course, NetworkPlan, use
from workbench.methods.registry import make
from workbench.methods.trainable import Trainable
from workbench.methods.training_options import TrainingOptions

COUNT = 160
CLASSES = 5


@pytest.fixture(scope="module")
def graph():
    return network()


def lessons(labelled: bool = True) -> Iterator:
    """Examples in two batches, labelled by what the float network says."""
    x = examples(seed=11, count=COUNT)
    labels = network().module(x)[0].argmax(-1)
    for part, answer in zip(x.split(COUNT // 2), labels.split(COUNT // 2), strict=True):
        yield (part,), answer if labelled else None


def learn(model, options: dict, labelled: bool = True, **fields) -> list[Event]:
    given = task(**fields)
    given.lessons = lambda: lessons(labelled)
    return list(make("lsq", options).learn(model, given))


def same(first, second) -> bool:
    ours, theirs = first.module.state_dict(), second.module.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in ours.items())


@torch.no_grad()
def agreement(graph, model) -> float:
    """Share of the examples that both put into the same class."""
    x = examples(seed=11, count=COUNT)
    return float((graph.module(x)[0].argmax(-1) == model(x)[0].argmax(-1)).float().mean())


class KilledError(Exception):
    """The process was ended here."""


class Memory:
    """A checkpoint that ends the run after some saves, and remembers at which steps they were."""

    def __init__(self, stop_after: int = 0) -> None:
        self.stored, self.steps, self.left = None, [], stop_after

    def save(self, tensors, step: int) -> None:
        self.stored = ({k: v.clone() for k, v in tensors.items()}, step)
        self.steps.append(step)
        self.left -= 1
        if self.left == 0:
            raise KilledError

    def load(self):
        return self.stored


@pytest.mark.parametrize("stop_after", [1, 3, 7])
@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 3, "batch_size": 32, "labels": 1.0, "crop": 1, "flip": True, "mixup": 0.4},
        {"epochs": 3, "batch_size": 32, "mean": 0.9, "freeze": 0.02, "optimiser": "sgd"},
        {"epochs": 4, "batch_size": 64, "bits": "8", "keep_best": True, "patience": 3},
    ],
    ids=["augmented", "sgd-mean-freeze", "bits-best"],
)
def test_a_course_killed_anywhere_ends_bit_for_bit_the_same(
    graph, options: dict, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.methods.network_training.SAVE_SECONDS", 0.0)
    whole, broken, again = quantized(graph, 3), quantized(graph, 3), quantized(graph, 3)
    learn(whole, options)
    memory = Memory(stop_after)
    with pytest.raises(KilledError):
        learn(broken, options, checkpoint=memory)
    learn(again, options, checkpoint=memory)
    assert same(whole, again)


def test_there_are_checkpoints_inside_an_epoch(graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.methods.network_training.SAVE_SECONDS", 0.0)
    memory = Memory()
    learn(quantized(graph, 4), {"epochs": 1, "batch_size": 32}, checkpoint=memory)
    assert memory.steps[0] == 1
    assert memory.steps[-1] == 5


@pytest.mark.parametrize("rate", [0.1, 2.0])
def test_a_rate_far_too_high_is_noticed_within_fifty_steps(graph, rate: float) -> None:
    model = quantized(graph, 4)
    options = {"epochs": 60, "batch_size": 32, "learning_rate": rate}
    events = learn(model, options)
    said = [e for e in events if e.concern == "diverged"]
    assert len(said) == 1
    assert "lower the learning rate" in said[0].text
    assert said[0].step <= 50
    assert all(bool(v.isfinite().all()) for v in model.module.state_dict().values())
    assert agreement(graph, model) > 0.9  # epochs that ended on the way down are not kept


def test_a_sound_course_is_not_accused(graph) -> None:
    events = learn(quantized(graph, 2), {"epochs": 12, "batch_size": 32, "labels": 1.0})
    assert not [e.text for e in events if e.concern == "diverged"]


def test_labels_teach(graph) -> None:
    options = {"epochs": 25, "batch_size": 32, "labels": 1.0, "logits": 0.0, "learning_rate": 3e-3}
    values = [e.values for e in learn(quantized(graph, 2), options) if e.kind == "layer"]
    assert values[-1]["loss"] < values[0]["loss"]
    assert values[-1]["score"] > 0.6


def test_labels_that_are_not_there_are_asked_for(graph) -> None:
    with pytest.raises(RecipeError, match="the data have none; give"):
        learn(quantized(graph, 4), {"labels": 1.0}, labelled=False)


def test_small_batches_accumulate_to_a_large_one(graph) -> None:
    small, large = quantized(graph, 4), quantized(graph, 4)
    common = {"epochs": 1, "held_out": 0.0, "optimiser": "sgd", "learning_rate": 1e-2}
    common["norms"] = False  # which look at one batch after the other
    learn(small, {**common, "batch_size": 40, "accumulate": 4})
    learn(large, {**common, "batch_size": 160})
    ours, theirs = small.weight("point.w"), large.weight("point.w")
    assert not torch.equal(ours, graph.module.get_parameter(graph.attribute_of["point.w"]))
    # scales' gradient factors depend on nothing but the features, so both steps are the same
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_an_epoch_is_judged_and_read_in_one_forward_pass(graph, monkeypatch) -> None:
    judged, forward = [], Trainable.with_logits

    def counted(self, lesson, *steps):
        if not torch.is_grad_enabled():
            judged.append(len(lesson.inputs[0]))
        return forward(self, lesson, *steps)

    monkeypatch.setattr(Trainable, "with_logits", counted)
    monkeypatch.setattr(Trainable, "forward", lambda *_: pytest.fail("a second forward pass"))
    model = quantized(graph, 3)
    events = learn(model, {"epochs": 2, "batch_size": 32, "held_out": 0.25})
    assert judged == [COUNT // 4] * 2
    active = next(s.name for s in model.of_kind("activation") if s.shares is None)
    values = [e.sites[active].values for e in events if e.kind == "layer"]
    assert all(found["scale"] > 0 and "clipped" in found for found in values)


def test_each_epoch_reads_every_site(graph) -> None:
    model = quantized(graph, 3)
    events = learn(model, {"epochs": 2, "batch_size": 32, "norms": False})
    sites = [e for e in events if e.kind == "layer"][-1].sites
    wanted = {"scale", "clipped", "flips", "gradient", "effective_bits", "oscillating"}
    wanted |= {"flips_per_step", "moved", "scale_gradient"}
    assert sites["point.w"].values.keys() >= wanted
    clipped = 1 - sum(sites["point.w"].counts["latent"]) / model.weight("point.w").numel()
    assert clipped == pytest.approx(sites["point.w"].values["clipped"], abs=1e-6)
    assert 0 < sites["point.w"].values["effective_bits"] <= 3
    assert sites["point.w"].values["gradient"] > sites["point.w"].values["scale_gradient"] > 0


def test_what_does_not_move_stays(graph) -> None:
    model = quantized(graph, 4)
    given = task()
    given.lessons = lessons
    list(make("train", {"epochs": 1, "moves": "scales", "weights": "codes"}).learn(model, given))
    fresh = quantized(graph, 4)
    list(make("rtn").learn(fresh, task()))
    for site in model.of_kind("weight"):
        ours = model.quantizer(site.name)
        theirs = fresh.quantizer(site.name)
        weight = fresh.weight(site.name)
        assert torch.equal(ours.codes(weight), theirs.codes(weight))
    moved = [
        not torch.equal(model.quantizer(s.name).affine()[0], fresh.quantizer(s.name).affine()[0])
        for s in model.of_kind("weight")
    ]
    assert any(moved)


@pytest.mark.parametrize("moves", ["weights", "scales"])
def test_what_is_not_to_move_is_not_called_dead(graph, moves: str) -> None:
    given = task()
    given.lessons = lessons
    events = list(make("train", {"epochs": 1, "moves": moves}).learn(quantized(graph, 4), given))
    assert not [event.text for event in events if event.concern == "dead"]


def test_plans_go_to_toml_and_back() -> None:
    plan = NetworkPlan(
        weights="seq:levels=ternary",
        activations="lsq",
        estimator="ewgs:delta=0.01",
        signals=(use("labels"), use("logits", 0.5, temperature=4.0)),
        course=Course(epochs=3, warm_up=0.1),
    )
    assert NetworkPlan.parse(plan.model_dump(mode="json"), "plan") == plan


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"estimator": "egws"}, "unknown estimator 'egws'"),
        ({"estimator": "ewgs:delta=9"}, "delta"),
        ({"bits": "8,x"}, "'x' is no number of bits"),
        ({"labels": 0.0, "logits": 0.0}, "signals"),
        ({"epochs": 0}, "at least 1"),
    ],
)
def test_faults_are_named(graph, options: dict, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        list(make("lsq", options).learn(quantized(graph, 4), task()))


def test_bits_on_the_way_may_be_a_single_number() -> None:
    given = [TrainingOptions(bits=bits) for bits in (8, "8")]
    assert [options.plan().bits for options in given] == [(8,), (8,)]
    with pytest.raises(RecipeError, match="'9' is no number of bits"):
        make("lsq", {"bits": 9})


def test_rates_fall_to_nothing() -> None:
    from workbench.methods.descent import factor

    rates = [factor(Course(), n, 100) for n in range(100)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 1.0
    assert math.isclose(rates[-1], 0.0, abs_tol=1e-3)
