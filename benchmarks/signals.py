"""What reporting costs: learning with and without its signals, in turns, and the bytes they take.

    python -m benchmarks.signals [MODEL]

Each method runs on the same model, examples and seed, once as it is and once with every reading
replaced by nothing, the errors between first and last included where they decide nothing; the two
must end with the same codes. Times are seconds of processor time of
this process, the least of some rounds, so that other work on the machine does not count. On busy
cores the difference is less than chance: `inside_percent` is the share of one more run that was
spent inside the readings. Set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pkgutil import resolve_name
from typing import Any
from unittest import mock

import torch

import workbench
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.methods.base import Task
from workbench.methods.registry import make
from workbench.methods.training import Training
from workbench.session.session import Session

EXAMPLES, BATCH, BITS, ROUNDS = 512, 64, 4, 3
STARTED = 2  # errors that are measured before the first step
CASES: tuple[tuple[str, Mapping[str, object]], ...] = (
    ("gram", {}),
    ("adaround", {"iterations": 500}),
    ("qdrop", {"iterations": 500}),
    ("lsq", {"epochs": 4}),
)
JUDGE = Training._error
#: what is taken away: (where it is called, its name, what it gives then)
READINGS: tuple[tuple[str, str, object], ...] = (
    ("workbench.methods.learners.Learners", "signals", {}),
    ("workbench.methods.training", "gathered", ({}, {})),
    ("workbench.methods.training", "gradients", {}),
    ("workbench.methods.readings", "reading", {}),
    ("workbench.methods.resume", "of_model", {}),
    ("workbench.methods.judging.Judge", "look", ({}, {}, {})),
    ("workbench.methods.tracking.Tracker", "step", None),
)


def rows(name: str) -> Iterator[dict[str, object]]:
    """One record a method: seconds with and without signals, the share they take, bytes."""
    session = workbench.open(name)
    for method, options in CASES:
        spoken, silent = [], []
        for _ in range(ROUNDS):
            spoken.append(_learned(session, method, options))
            with ExitStack() as stack:
                for owner, attribute, value in READINGS:
                    stack.enter_context(mock.patch(f"{owner}.{attribute}", return_value=value))
                stack.enter_context(mock.patch.object(Training, "_error", _sparing))
                silent.append(_learned(session, method, options))
        assert all(torch.equal(a, b) for a, b in zip(spoken[0][2], silent[0][2], strict=True))
        ours, theirs = (min(seconds for seconds, _, _ in runs) for runs in (spoken, silent))
        clock = Clock()
        with clock:
            whole = _learned(session, method, options)[0]
        yield {
            "model": name,
            "method": method,
            "options": dict(options),
            "seconds": round(ours, 2),
            "silent_seconds": round(theirs, 2),
            "overhead_percent": round(100 * (ours / theirs - 1), 2),
            "inside_percent": round(100 * clock.seconds / whole, 2),
            "event_bytes": spoken[0][1],
        }


class Clock(ExitStack):
    """While it is entered, counts the processor time inside the readings.

    Attributes:
        seconds: so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self._inside = False

    def __enter__(self) -> Clock:
        for owner, attribute, _ in READINGS:
            own = self.timed(resolve_name(f"{owner}.{attribute}"))
            self.enter_context(mock.patch(f"{owner}.{attribute}", own))
        judged = self.timed(JUDGE)

        def error(training: Training, batches: Sequence[int]) -> float:
            return (JUDGE if _decides(training) else judged)(training, batches)

        self.enter_context(mock.patch.object(Training, "_error", error))
        return self

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, on the clock; what it calls is not counted twice."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return call(*args, **kwargs)
            self._inside, start = True, time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                self._inside = False
                self.seconds += time.process_time() - start

        return counted


def _sparing(training: Training, batches: Sequence[int]) -> float:
    """The error at the start, also later on, where it is not needed to choose a state."""
    known = training.__dict__.setdefault("_known", [])
    if _decides(training):
        known.append(JUDGE(training, batches))
        return known[-1]
    return known[0]


def _decides(training: Training) -> bool:
    """Whether the next error that is asked for decides something."""
    schedule = training._plan.schedule
    asked = training.__dict__["_asked"] = training.__dict__.get("_asked", 0) + 1
    return bool(schedule.keep_best or schedule.patience) or asked <= STARTED


def _learned(
    session: Session, method: str, options: Mapping[str, object]
) -> tuple[float, int, list[torch.Tensor]]:
    """(processor seconds, bytes of the events, codes of the weights)."""
    data = session.data.calibrate_on(EXAMPLES)
    batches = [batch for batch, _ in data.batches("calibration", BATCH)]
    place = target("ort-cpu")
    asked = WeightGrid(bits=BITS), ActivationGrid(bits=BITS)
    model = QuantizedGraph(session.graph, place.sites(session.graph, *asked, edges=8)).eval()
    task = Task(lambda: iter(batches), EXAMPLES)
    start = time.process_time()
    events = list(make(method, options).learn(model, task))
    seconds = time.process_time() - start
    written = sum(len(json.dumps(event.record())) + 1 for event in events)
    codes = [frozen.codes for frozen in model.frozen().values() if frozen.codes is not None]
    return seconds, written, codes


if __name__ == "__main__":
    for row in rows(sys.argv[1] if len(sys.argv) > 1 else "digits-mobilenet"):
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
