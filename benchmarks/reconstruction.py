"""Reconstruction at 4 bits for weights and activations, against the best calibrator.

    python -m benchmarks.reconstruction [MODEL ...]

The sample models, first and last layer at 8 bits (`edges`): top-1 on all test examples, SQNR of the
logits, seconds and seconds of processor time, for nearest rounding under each calibrator and
for each method. Set OMP_NUM_THREADS=1 to compare processor times.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

import workbench
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.maths.calibrators.registry import CALIBRATORS, serving
from workbench.maths.metrics import sqnr_db
from workbench.methods.base import Task
from workbench.methods.registry import make
from workbench.session.session import Session

MODELS = ("digits-mobilenet", "digits-vit")
EXAMPLES = 512
BATCH = 64
BITS = 4
METHODS = ("gram", "adaround", "adaquant", "brecq", "qdrop", "flexround", "autoround", "omniquant")


def calibrated_by(name: str) -> dict[str, object]:
    """Options of `rtn`: one calibrator wherever it serves, and the least error elsewhere."""
    weights, active = ((name if name in serving(k) else "mse") for k in ("weights", "activations"))
    return {"calibrator": active, "weight_calibrator": weights}


CASES: tuple[tuple[str, Mapping[str, object]], ...] = (
    *(("rtn", calibrated_by(name)) for name in CALIBRATORS.names()),
    *((name, {}) for name in METHODS),
    ("brecq", {"signal": "fisher"}),
    ("mrecg", {}),
    ("pd_quant", {"iterations": 200}),
)


def rows(name: str, seed: int = 0) -> Iterator[dict[str, object]]:
    """One record a case: method, options, top-1 in percent, SQNR in dB, seconds."""
    session = workbench.open(name)
    inputs, truth = _test(session)
    reference = _logits(session.graph.module, inputs)
    yield _record(name, "float", {}, reference, reference, truth, (0.0, 0.0))
    for method, options in CASES:
        model, times = learn(session, method, options, seed)
        yield _record(name, method, options, reference, _logits(model, inputs), truth, times)


def learn(
    session: Session, method: str, options: Mapping[str, object], seed: int = 0
) -> tuple[QuantizedGraph, tuple[float, float]]:
    """A quantized model, and the seconds and processor seconds that its learning took."""
    data = session.data.calibrate_on(EXAMPLES)
    batches = [batch for batch, _ in data.batches("calibration", BATCH)]
    place = target("ort-cpu")
    asked = WeightGrid(bits=BITS), ActivationGrid(bits=BITS)
    model = QuantizedGraph(session.graph, place.sites(session.graph, *asked, edges=8)).eval()
    task = Task(lambda: iter(batches), EXAMPLES, seed=seed)
    start = time.perf_counter(), time.process_time()
    for event in make(method, options).learn(model, task):
        if event.kind == "note":
            sys.stderr.write(f"{method}: {event.text}\n")
    return model, (time.perf_counter() - start[0], time.process_time() - start[1])


def _test(session: Session) -> tuple[list[tuple[Tensor, ...]], Tensor]:
    inputs, labels = zip(*session.data.batches("test", BATCH), strict=True)
    return list(inputs), torch.cat([label for label in labels if label is not None])


@torch.no_grad()
def _logits(model: torch.nn.Module, inputs: list[tuple[Tensor, ...]]) -> Tensor:
    return torch.cat([model(*batch)[0] for batch in inputs])


def _record(
    name: str,
    method: str,
    options: Mapping[str, object],
    reference: Tensor,
    logits: Tensor,
    truth: Tensor,
    times: tuple[float, float],
) -> dict[str, object]:
    return {
        "model": name,
        "method": method,
        "options": dict(options),
        "top1": 100 * float((logits.argmax(1) == truth).double().mean()),
        "sqnr_db": sqnr_db(reference, logits),
        "seconds": round(times[0], 1),
        "cpu_seconds": round(times[1], 1),
    }


if __name__ == "__main__":
    for model_name in sys.argv[1:] or MODELS:
        for row in rows(model_name):
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
