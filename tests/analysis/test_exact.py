"""Measured damage: against switches by hand, and taken up again after a stop."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch

from tests.methods.nets import examples, network, quantized, task
from workbench.analysis.damage import Answer, OutputSums
from workbench.analysis.exact import Exact
from workbench.analysis.ledger import Ledger, digest_tensors
from workbench.analysis.units import units
from workbench.maths.metrics import agreement, kl_divergence
from workbench.methods.registry import make

X = examples(seed=3, count=32)
LABELS = torch.arange(32) % 5
BATCHES = [((X[:20],), LABELS[:20]), ((X[20:],), LABELS[20:])]


@pytest.fixture(scope="module")
def model():
    found = quantized(network(), bits=2)
    for _ in make("rtn").learn(found, task()):
        pass
    return found


def measuring(model, ledger: Ledger | None = None) -> Exact:
    settings = {unit.name: unit.setting for unit in units(model)}
    return Exact(model, settings, BATCHES, Answer(), ledger)


def by_hand(model, wanted) -> torch.Tensor:
    model.enable(wanted)
    with torch.no_grad():
        found = model(X)[0]
    model.enable(lambda _: True)
    return found


def test_alone_and_cured(model) -> None:
    found = measuring(model).run()
    reference = model.graph.module(X)[0].detach()
    alone = by_hand(model, lambda s: s.name == "depth.w")
    assert found.alone["depth.w"].kl / 32 == pytest.approx(
        kl_divergence(reference, alone), rel=1e-4
    )
    cured = by_hand(model, lambda s: s.name not in ("depth.w", "depth.b"))
    record = found.cured["depth.w"].record(Answer())
    assert record["kl"] == pytest.approx(kl_divergence(reference, cured), rel=1e-4)
    assert record["flips"] == pytest.approx(1 - agreement(reference, cured))
    assert record["score"] == pytest.approx(
        100 * float((cured.argmax(-1) == LABELS).double().mean())
    )
    loss = torch.nn.functional.cross_entropy(cured, LABELS)
    assert record["loss"] == pytest.approx(float(loss), rel=1e-4)
    whole = by_hand(model, lambda _: True)
    assert found.output.kl / 32 == pytest.approx(kl_divergence(reference, whole), rel=1e-4)
    assert found.unquantized.kl == 0


def test_goes_on_where_it_was_stopped(model, tmp_path: Path) -> None:
    path = tmp_path / "kept" / "of-this-model.jsonl"
    first = measuring(model, Ledger(path))
    steps = list(islice(iter(first), 9))
    assert not first.complete
    with path.open("ab") as stream:
        stream.write(b'\n["half a li')  # as a killed process leaves it
    known = len(Ledger(path))
    assert known >= 7
    again = measuring(model, Ledger(path))
    last = list(again)[-1]
    assert last.step == last.total == steps[0].total
    assert last.known == known
    assert again.result == measuring(model).run()
    third = measuring(model, Ledger(path))
    assert third.complete
    assert all(place.known == place.step for place in third)


def test_other_data_have_other_keys() -> None:
    assert digest_tensors([X, None]) != digest_tensors([X[:20], None])
    assert digest_tensors([X]) != digest_tensors([X.double()])


def test_what_another_site_cannot_change_is_known(model, tmp_path: Path) -> None:
    path = tmp_path / "of-this-network.jsonl"
    before = measuring(model, Ledger(path)).run()
    other = quantized(network(), bits=2)
    for _ in make("rtn").learn(other, task()):
        pass
    other.quantizer("mix.w").set_range(torch.full((12,), -0.5), torch.full((12,), 0.5))
    ledger = Ledger(path)
    known = len(ledger)
    after = measuring(other, ledger).run()
    assert after == measuring(other).run()
    assert {n for n in after.alone if after.alone[n] != before.alone[n]} == {"mix.w"}
    cured = len(after.cured) - 1  # everything but this weight is what it was
    assert len(ledger) - known == len(BATCHES) * (1 + cured + 1)


def test_probabilities_are_compared_as_such() -> None:
    logits, moved = torch.randn(8, 5).double(), torch.randn(8, 5).double()
    pair = logits.softmax(-1), moved.softmax(-1)
    found = OutputSums.between(*pair, None, Answer("classes", softmax=True))
    assert found.kl / 8 == pytest.approx(kl_divergence(logits, moved), rel=1e-6)
    assert (
        OutputSums.between(*pair, None, Answer("values")).record(Answer("values"))["flips"] is None
    )
