"""How long a file takes in ONNX Runtime: medians, after warm-up, on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnxruntime as ort
from torch import Tensor

from workbench.deploy.runtime import Array, Model, open_session, run
from workbench.foundation.errors import ExportError
from workbench.foundation.positive import positive

WARM_UP = 3


@dataclass(frozen=True)
class Latency:
    """Medians of one call, in milliseconds; float and quantized calls were made by turns."""

    float_ms: float
    quantized_ms: float
    repeats: int
    threads: int

    @property
    def speedup(self) -> float:
        """How many times faster the quantized file is; below 1 it is slower."""
        return self.float_ms / self.quantized_ms

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "speedup": self.speedup}


def latency_ms(
    model: Model, inputs: Sequence[Tensor | Array], *, repeats: int = 20, threads: int = 1
) -> float:
    """Median milliseconds of one call with `inputs`."""
    session = open_session(model, threads=threads)
    return medians([session], inputs, repeats)[0]


def compare_latency(
    float_model: Model,
    quantized_model: Model,
    inputs: Sequence[Tensor | Array],
    *,
    repeats: int = 20,
    threads: int = 1,
) -> Latency:
    """Both models by turns, so that a machine that grows busy or warm slows both alike."""
    positive("threads", threads)
    sessions = [open_session(model, threads=threads) for model in (float_model, quantized_model)]
    float_ms, quantized_ms = medians(sessions, inputs, repeats)
    return Latency(float_ms, quantized_ms, repeats, threads)


def medians(
    sessions: Sequence[ort.InferenceSession], inputs: Sequence[Tensor | Array], repeats: int
) -> list[float]:
    """Median milliseconds of one call of each session, called by turns.

    Raises:
        ExportError: `repeats` is below 1.
    """
    if repeats < 1:
        raise ExportError(f"repeats was {repeats}; measure at least once")
    for session in sessions:
        for _ in range(WARM_UP):
            run(session, inputs)
    rounds = [[_time(session, inputs) for session in sessions] for _ in range(repeats)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def _time(session: ort.InferenceSession, inputs: Sequence[Tensor | Array]) -> float:
    started = time.perf_counter()
    run(session, inputs)
    return 1000 * (time.perf_counter() - started)
