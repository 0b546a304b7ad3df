"""A training loop of one's own: the parts it gets, and the run it ends in."""

from __future__ import annotations

import pytest
import torch

import workbench
from workbench.foundation.errors import RecipeError
from workbench.session.execute import Extent

FAST = Extent(naive=False, layers=False, latency=False, examples=200, verify_examples=16)


@pytest.fixture(scope="module")
def session():
    return workbench.open("digits-gru")


def test_parameters_come_apart_by_kind(session) -> None:
    training = session.trainable(weights=4, activations=8, calibration_examples=64)
    groups = training.network.groups()
    counted = {id(p) for held in groups.values() for p in held}
    every = [p for p in training.network.model.module.parameters() if p.requires_grad]
    assert counted == {id(p) for p in every}
    assert groups["weights"]
    assert groups["scales"]
    assert groups["offsets"]


def test_a_loop_of_ones_own_ends_in_a_proven_run(session, tmp_path) -> None:
    training = session.trainable(
        weights=3, activations=8, method="lsq", labels=1.0, calibration_examples=128,
        training_examples=256,
    )  # fmt: skip
    groups = training.network.groups()
    optimiser = torch.optim.AdamW([
        {"params": groups["weights"] + groups["offsets"], "lr": 1e-3},
        {"params": groups["scales"], "lr": 1e-4},
    ])  # fmt: skip
    losses = []
    for epoch in range(2):
        for inputs, labels in training.batches(64, epoch):
            loss = training.network.loss(*inputs, labels=labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
    assert sum(losses[-4:]) < sum(losses[:4])
    assert {"labels", "logits"} <= set(training.network.parts)
    run = training.finish(tmp_path / "run", FAST)
    report = run.report()
    assert report["verification"]["ok"]
    x = next(iter(training.batches(8)))[0]
    with torch.no_grad():
        assert torch.allclose(training.network(*x)[0], run.model(*x)[0], atol=1e-5)


def test_epochs_are_shuffled_anew_and_repeatably(session) -> None:
    training = session.trainable(weights=4, calibration_examples=64, training_examples=100)
    first, again, other = (next(iter(training.batches(10, epoch)))[0][0] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_method_that_trains_no_network_is_refused(session) -> None:
    with pytest.raises(RecipeError, match=r"method .gram. trains no network; choose one of: .*lsq"):
        session.trainable(method="gram")
