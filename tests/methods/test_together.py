"""Several processes learn what one would: shares, gradients, agreement, and the whole course."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.methods.nets import examples, network, quantized, task
from tests.methods.threads import Thread, together
from workbench.methods.base import Event
from workbench.methods.registry import make
from workbench.methods.together import Together

COUNT = 160
COMMON = {"epochs": 2, "batch_size": 32, "labels": 1.0, "learning_rate": 1e-3}


def lessons() -> Iterator:
    x = examples(seed=11, count=COUNT)
    yield (x,), network().module(x)[0].argmax(-1)


def learn(model: Any, options: dict, method: str = "lsq", **fields: Any) -> list[Event]:
    given = task(**fields)
    given.lessons = lessons
    return list(make(method, {**COMMON, **options}).learn(model, given))


def losses(events: list[Event]) -> list[float]:
    return [event.values["loss"] for event in events if event.kind == "layer"]


def farthest(first: Any, second: Any) -> float:
    """The largest distance of two networks' tensors, as a share of each tensor's own size."""
    ours, theirs = first.module.state_dict(), second.module.state_dict()
    gaps = ((ours[k] - theirs[k]).norm() / theirs[k].norm().clamp(min=1e-6) for k in ours)
    return max(map(float, gaps))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_are_a_partition(size: int, count: int) -> None:
    chosen = list(range(100, 100 + size))
    shares = [Together(rank, count).share(chosen) for rank in range(count)]
    assert sorted(i for own, weight in shares if weight for i in own) == chosen
    assert math.isclose(sum(weight for _, weight in shares), 1.0)
    assert all(own for own, _ in shares)


def test_one_process_has_everything_and_asks_nobody() -> None:
    alone, parameter = Together(), torch.nn.Parameter(torch.ones(3))
    own = parameter.grad = torch.arange(3.0)
    alone.gather([parameter])
    assert parameter.grad is own
    assert alone.leads
    assert alone.share([4, 2]) == ([4, 2], 1.0)
    assert alone.totals([1.5, 2.0]) == [1.5, 2.0]
    assert alone.agreed(own) is own


def test_gradients_are_summed_where_any_process_has_one() -> None:
    def work(process: Thread) -> list[Any]:
        held = [torch.nn.Parameter(torch.zeros(2, 2)) for _ in range(3)]
        held[0].grad = torch.full((2, 2), float(process.rank + 1))
        if process.rank == 1:
            held[1].grad = torch.ones(2, 2)
        process.gather(held)
        return [None if p.grad is None else p.grad.unique().tolist() for p in held]

    assert together(3, work) == [[[6.0], [1.0], None]] * 3


def test_numbers_are_summed_exactly() -> None:
    found = together(2, lambda process: process.totals([1e-9, process.rank + 1e8]))
    assert found == [[2e-9, 2e8 + 1]] * 2


OPTIONS = {
    "plain": {},
    "augmented": {"crop": 1, "flip": True, "mixup": 0.4},
    "sgd-mean-freeze": {"optimiser": "sgd", "mean": 0.9, "freeze": 0.02},
    "bits-best-clip": {"bits": "8", "keep_best": True, "clip_norm": 0.5, "epochs": 4},
    "accumulate": {"accumulate": 3, "weight_decay": 0.01},
}


def shared(
    options: dict, count: int, precision: Any = None, method: str = "lsq"
) -> list[tuple[Any, list[Event]]]:
    """The network and the events of each process."""

    def work(process: Thread) -> tuple[Any, list[Event]]:
        model = quantized(network(), 4)
        return model, learn(model, options, method, together=process)

    return list(together(count, work, precision))


@pytest.mark.parametrize(
    ("options", "count"),
    [*((options, 2) for options in OPTIONS.values()), ({"epochs": 1}, 3)],
    ids=[*OPTIONS, "three"],
)
def test_processes_learn_what_one_would(options: dict, count: int) -> None:
    alone, moved = quantized(network(), 4), quantized(network(), 4)
    events = learn(alone, options)
    learn(moved, {**options, "batch_size": 31})
    (first, told), *others = shared(options, count)
    # sums in another order turn a rounding here and there; other batches change far more
    assert farthest(first, alone) < min(5e-3, 0.1 * farthest(moved, alone))
    assert losses(told) == pytest.approx(losses(events), rel=1e-3)
    for other, theirs in others:
        assert farthest(other, first) == 0.0
        assert losses(theirs) == losses(told)


@pytest.mark.parametrize("method", ["kd", "edmips"])
def test_features_and_bits_are_learned_alike(method: str) -> None:
    alone = quantized(network(), 4)
    events = learn(alone, {"epochs": 2}, method)
    (first, told), (second, _) = shared({"epochs": 2}, 2, method=method)
    assert farthest(first, alone) < 5e-3
    assert farthest(second, first) == 0.0
    assert losses(told) == pytest.approx(losses(events), rel=1e-2)


def test_one_step_is_the_same_to_the_last_digits() -> None:
    options = {"epochs": 1, "held_out": 0.0, "batch_size": COUNT, "optimiser": "sgd"}
    alone = quantized(network(), 4)
    learn(alone, options)
    assert farthest(shared(options, 2)[0][0], alone) < 1e-6


def test_more_processes_than_examples_in_a_batch() -> None:
    options = {"epochs": 1, "batch_size": 2, "held_out": 0.5}
    alone = quantized(network(), 4)
    events = learn(alone, options)
    (first, told), *_ = shared(options, 3)
    assert farthest(first, alone) < 5e-3
    assert losses(told) == pytest.approx(losses(events), rel=1e-2)


@pytest.mark.slow
def test_all_stop_at_a_course_that_diverges() -> None:
    options = {"epochs": 60, "batch_size": 32, "learning_rate": 0.1, "labels": 0.0}
    found = shared(options, 2)
    ends = {tuple(e.step for e in events if e.concern == "diverged") for _, events in found}
    assert len(ends) == 1
    assert ends.pop()
    assert farthest(found[1][0], found[0][0]) == 0.0


def test_the_launcher_says_the_precision() -> None:
    options = {"epochs": 1}
    plain, low = shared(options, 2), shared(options, 2, "bfloat16")
    assert 1e-5 < farthest(low[0][0], plain[0][0]) < 0.1
    texts = [event.text for event in low[0][1]]
    assert "the forward pass is in bfloat16, as was launched" in texts
    assert "2 processes share each batch" in texts
