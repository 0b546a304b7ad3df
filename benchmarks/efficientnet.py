"""EfficientNet-Lite0: nearest rounding against learning, per-channel weights, float activations.

Needs `make zoo` and a folder or zip of labelled ImageNet pictures; 100 calibrate, the rest judge.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import workbench
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import WeightGrid, target
from workbench.maths import metrics
from workbench.methods.base import Task
from workbench.methods.registry import make
from workbench.session.session import Session

CALIBRATION = 100
BATCH = 20
CASES = (("rtn", 4), ("gptq", 4), ("gram", 4), ("gram", 3))


def rows(pictures: Path) -> Iterator[dict[str, object]]:
    """One record a case: method, bits, top-1, agreement, SQNR, seconds, peak memory."""
    session = workbench.open("efficientnet-lite0", data=pictures)
    data = session.data.calibrate_on(CALIBRATION)
    inputs, labels = zip(*data.batches("test", BATCH), strict=True)
    truth = torch.cat([label for label in labels if label is not None])
    reference = _logits(session.graph.module, inputs)
    yield _record("float", 32, reference, reference, truth, 0.0)
    batches = [batch for batch, _ in data.batches("calibration", BATCH)]
    for method, bits in CASES:
        model, seconds = _learn(session, method, bits, batches)
        yield _record(method, bits, reference, _logits(model, inputs), truth, seconds)


def _learn(
    session: Session, method: str, bits: int, batches: list[tuple[Tensor, ...]]
) -> tuple[QuantizedGraph, float]:
    sites = target("weight-only").sites(session.graph, WeightGrid(bits=bits), None)
    model = QuantizedGraph(session.graph, sites).eval()
    start = time.perf_counter()
    for _ in make(method).learn(model, Task(lambda: iter(batches), CALIBRATION)):
        pass
    return model, time.perf_counter() - start


@torch.no_grad()
def _logits(model: torch.nn.Module, inputs: tuple[tuple[Tensor, ...], ...]) -> Tensor:
    return torch.cat([model(*batch)[0] for batch in inputs])


def _record(
    method: str, bits: int, reference: Tensor, logits: Tensor, truth: Tensor, seconds: float
) -> dict[str, object]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "method": method,
        "weights": bits,
        "top1": 100 * float((logits.argmax(1) == truth).double().mean()),
        "agreement": 100 * metrics.agreement(reference, logits),
        "sqnr_db": metrics.sqnr_db(reference, logits),
        "seconds": seconds,
        "peak_gib": peak,
    }
