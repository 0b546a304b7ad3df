"""The benchmark of signals: a clock that counts what readings take, once, and changes nothing."""

from __future__ import annotations

import time

import pytest
import torch

import workbench
from benchmarks import signals
from workbench.methods.judging import Judge
from workbench.methods.training import Training


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_what_a_reading_calls_is_not_counted_twice() -> None:
    clock = signals.Clock()
    inner = clock.timed(busy)
    outer = clock.timed(lambda: [busy(0.02), inner(0.02)])
    outer()
    assert clock.seconds == pytest.approx(0.04, abs=0.01)
    inner(0.02)
    assert clock.seconds == pytest.approx(0.06, abs=0.015)


@pytest.mark.parametrize(
    ("method", "options"), [("lsq", {"epochs": 1}), ("adaround", {"iterations": 4})]
)
def test_a_run_on_the_clock_ends_with_the_same_codes(
    method, options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "EXAMPLES", 64)
    session, look, error = workbench.open("digits-gru"), Judge.look, Training._error
    plain = signals._learned(session, method, options)
    with signals.Clock() as clock:
        timed = signals._learned(session, method, options)
    assert 0 < clock.seconds < timed[0]
    assert all(torch.equal(a, b) for a, b in zip(plain[2], timed[2], strict=True))
    assert (Judge.look, Training._error) == (look, error)
