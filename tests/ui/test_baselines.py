"""A baseline is being made from the moment it was asked for until it is done."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from workbench.session.execute import Extent
from workbench.session.jobs import Job
from workbench.ui.gradio.baselines import Baselines


def test_a_baseline_whose_process_is_not_yet_there_is_being_made(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A page that asks in that moment must go on asking."""
    waiting, go_on = threading.Event(), threading.Event()

    def start(job: Job, *limits: float) -> None:
        waiting.set()
        go_on.wait(30)

    monkeypatch.setattr(Job, "start", start)
    baselines = Baselines(tmp_path, Extent(layer_examples=8, verify_examples=8, latency=False))
    asked = str(tiny.model), str(tiny.data)
    baselines.ensure(*asked)
    assert waiting.wait(30)
    run = baselines.find(*asked)
    assert run is not None
    assert run.state == "stopped"
    assert baselines.busy(*asked)
    go_on.set()
    until = time.monotonic() + 10
    while baselines.busy(*asked) and time.monotonic() < until:
        time.sleep(0.02)
    assert not baselines.busy(*asked)
