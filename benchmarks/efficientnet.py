"""EfficientNet-Lite0: nearest rounding against learning, per-channel weights, float activations.

Needs `make zoo` and a folder or zip of labelled ImageNet pictures; 100 calibrate, the rest judge.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import workbench
from benchmarks.resident import peak
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import WeightGrid, target
from workbench.maths import metrics
from workbench.methods.base import Task
from workbench.methods.registry import make
from workbench.session.session import Session

CALIBRATION = 100
BATCH = 20
#: ridges for a hundred pictures of a thousand classes
CAREFUL = {"damping": 0.5, "rounding_damping": 1.0, "rows": 200_000}


@dataclass(frozen=True)
class Case:
    """A method at some bits, and what comes before it.

    Attributes:
        transforms: of the float network.
        symmetric: without it each row has a zero-point too.
    """

    method: str
    bits: int
    options: Mapping[str, Any] = field(default_factory=dict)
    transforms: tuple[str, ...] = ()
    symmetric: bool = True


def best(bits: int, seed: int = 0) -> Case:
    """The best that was found for few pictures."""
    return Case("gram", bits, CAREFUL, (f"incoherence:seed={seed}",), symmetric=False)


CASES = (
    Case("rtn", 4),
    Case("gptq", 4),
    Case("gram", 4),
    Case("gram", 3),
    Case("gram", 4, symmetric=False),
    Case("gram", 3, symmetric=False),
    *(best(4, seed) for seed in range(3)),
    *(best(3, seed) for seed in range(3)),
)


def rows(pictures: Path) -> Iterator[dict[str, object]]:
    """One record a case: method, bits, top-1, agreement, SQNR, seconds, peak memory."""
    session = workbench.open("efficientnet-lite0", data=pictures)
    data = session.data.calibrate_on(CALIBRATION)
    inputs, labels = zip(*data.batches("test", BATCH), strict=True)
    truth = torch.cat([label for label in labels if label is not None])
    reference = _logits(session.graph.module, inputs)
    yield _record(Case("float", 32), reference, reference, truth, 0.0)
    batches = [batch for batch, _ in data.batches("calibration", BATCH)]
    for case in CASES:
        model, seconds = _learn(session, case, batches)
        yield _record(case, reference, _logits(model, inputs), truth, seconds)


def _learn(
    session: Session, case: Case, batches: list[tuple[Tensor, ...]]
) -> tuple[QuantizedGraph, float]:
    graph = session.transformed(case.transforms)
    grid = WeightGrid(bits=case.bits, symmetric=case.symmetric)
    model = QuantizedGraph(graph, target("weight-only").sites(graph, grid, None)).eval()
    start = time.perf_counter()
    learner = make(case.method, case.options)
    for _ in learner.learn(model, Task(lambda: iter(batches), CALIBRATION)):
        pass
    return model, time.perf_counter() - start


@torch.no_grad()
def _logits(model: torch.nn.Module, inputs: tuple[tuple[Tensor, ...], ...]) -> Tensor:
    return torch.cat([model(*batch)[0] for batch in inputs])


def _record(
    case: Case, reference: Tensor, logits: Tensor, truth: Tensor, seconds: float
) -> dict[str, object]:
    return {
        "method": ">".join((*case.transforms, case.method)),
        "weights": case.bits,
        "zero-points": not case.symmetric,
        "top1": 100 * float((logits.argmax(1) == truth).double().mean()),
        "agreement": 100 * metrics.agreement(reference, logits),
        "sqnr_db": metrics.sqnr_db(reference, logits),
        "seconds": seconds,
        "peak_gib": peak() / 1024,
    }
