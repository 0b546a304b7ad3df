"""Training with the quantizer in the loop: accuracy of each method, and what a step costs.

    python -m benchmarks.training [--model NAME ...] [--setting W2A2 ...] [--method NAME ...]
    python -m benchmarks.training --steps

The sample models on all their examples to train on (6,000 digits, 8,192 windows of text), weights
per channel (bytegpt: weights alone, groups of 32), first and last layer at 8 bits unless
activations stay in float. Held-out examples judge the simulation and the file in ONNX Runtime. A
setting "T" has three levels of weights, "B" two. A method that has no levels of its own at a
setting is left out there. Each case is one line of JSON in `benchmarks/results/training.jsonl`, and
is not measured again.

`--steps` compares one step of training, quantized against float, in processor time of one thread:
both forward, backward and AdamW on the same batch, the least of several, in one process.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

import workbench
from benchmarks.keeping import RESULTS, fill
from workbench.foundation.errors import WorkbenchError
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.methods.base import Task
from workbench.methods.descent import Descent
from workbench.methods.lessons import Lesson
from workbench.methods.network_plan import Course, NetworkPlan, use
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import make
from workbench.methods.tracking import Tracker
from workbench.methods.trainable import Trainable
from workbench.quantizers.registry import QUANTIZERS
from workbench.session.execute import Extent
from workbench.session.recipe import Recipe
from workbench.signals.distillation import distillation

DIGITS = ("digits-mobilenet", "digits-vit", "digits-gru", "digits-resnet")
#: setting -> (bits of weights, of activations or None)
SETTINGS = {
    "W4A4": (4, 4),
    "W3A3": (3, 3),
    "W2A2": (2, 2),
    "TA8": (2, 8),
    "BA8": (1, 8),
    "W2": (2, None),
}
#: setting -> methods whose weights have three levels, or two
FEW = {
    "TA8": ("twn", "ttq", "bitnet", "paretoq"),
    "BA8": ("binaryconnect", "xnor", "reactnet", "dorefa", "paretoq"),
}
METHODS = (
    *("lsq", "lsq_plus", "pact", "dorefa", "apot", "qil", "tqt", "ewgs", "dsq", "llt", "n2uq"),
    *dict.fromkeys((*FEW["TA8"], *FEW["BA8"][:3])),
)
#: what each model's training takes: small rates for products, channels apart for convolutions
COURSES: dict[str, dict[str, Any]] = {
    "digits-mobilenet": {"epochs": 10, "learning_rate": 3e-3, "relative": True, "labels": 1.0},
    "digits-resnet": {"epochs": 10, "learning_rate": 3e-3, "relative": True, "labels": 1.0},
    "digits-vit": {"epochs": 8, "learning_rate": 1e-3, "labels": 1.0},
    "digits-gru": {"epochs": 8, "learning_rate": 1e-3, "labels": 1.0},
    "bytegpt": {"epochs": 1, "batch_size": 16, "learning_rate": 3e-4, "labels": 1.0},
}
#: what a setting asks for beyond its model's course: two bits need longer
LONGER: dict[tuple[str, str], dict[str, Any]] = {
    ("digits-vit", "W2A2"): {"epochs": 21, "learning_rate": 2e-3, "features": 1.0},
}
USUAL = ["W4A4", "W2A2", "TA8", "BA8"]
GROUP = 32
ROUNDS = 8


def serves(method: str, setting: str) -> bool:
    """Whether a method has levels of its own at a setting; elsewhere it may become LSQ."""
    if setting in FEW:
        return method in FEW[setting]
    made, (bits, _) = make(method), SETTINGS[setting]
    assert isinstance(made, NetworkTraining), f"'{method}' trains no network"
    weights = made.plan().weights.partition(":")[0]
    return bits in QUANTIZERS[weights].facts.get("bits", (bits,))


@dataclass(frozen=True)
class Case:
    """One cell: a method on a model; `labels` False learns from the float model alone."""

    model: str
    setting: str
    method: str
    labels: bool
    seed: int


def recipe(case: Case) -> Recipe:
    """What the case asks for."""
    bits, active = SETTINGS[case.setting]
    weights: dict[str, Any] = {"bits": bits}
    if case.model == "bytegpt":
        weights |= {"granularity": "group", "group_size": GROUP}
    options = COURSES[case.model] | LONGER.get((case.model, case.setting), {})
    options["labels"] = options["labels"] if case.labels else 0.0
    if case.setting == "TA8" and case.method == "paretoq":
        options["levels"] = "ternary"
    fields: dict[str, Any] = {
        "target": "ort-cpu-vnni" if active else "weight-only",
        "weights": weights,
        "activations": {"bits": active} if active else "float",
        "edges": 8 if active else "same",
        "stages": [{"method": case.method, "options": options}],
        "seed": case.seed,
    }
    return Recipe(**fields)


def run(case: Case) -> dict[str, Any]:
    """Train and judge; the record, or the error's text."""
    session = workbench.open(case.model)
    extent = Extent(naive=False, layers=False, verify=False, latency=False)
    start = time.process_time()
    try:
        with TemporaryDirectory() as folder:
            made = session.quantize(recipe=recipe(case), out=f"{folder}/run", extent=extent)
            scores = made.report()["scores"]
    except WorkbenchError as error:
        return asdict(case) | {"error": str(error)}
    found = {name: scores[name]["score"] for name in ("float", "learned", "onnxruntime")}
    return asdict(case) | found | {"cpu_seconds": round(time.process_time() - start, 1)}


def steps(name: str, batch: int = 50, bits: int = 4) -> dict[str, Any]:
    """One step of quantized training against one of float training."""
    session = workbench.open(name)
    data = session.data.calibrate_on(128)
    batches = [inputs for inputs, _ in data.batches("calibration", 64)]
    place = target("ort-cpu")
    sites = place.sites(session.graph, WeightGrid(bits=bits), ActivationGrid(bits=bits), edges=8)
    model = QuantizedGraph(session.graph, sites)
    for _ in make("rtn").learn(model, Task(lambda: iter(batches), 128)):
        pass
    inputs = tuple(x[:batch] for x in batches[0])
    trainable = Trainable(model, NetworkPlan(signals=(use("logits"),)))
    answers = trainable.teacher(inputs)[0]
    quantized = _quantized_step(trainable, Lesson(inputs, None, answers))
    plain = _float_step(copy.deepcopy(session.graph.module), inputs, answers)
    ours, theirs = _least(quantized), _least(plain)
    return {
        "model": name,
        "batch": batch,
        "bits": bits,
        "float_ms": round(theirs, 1),
        "quantized_ms": round(ours, 1),
        "ratio": round(ours / theirs, 2),
    }


def _quantized_step(trainable: Trainable, lesson: Lesson) -> Callable[[], None]:
    descent, tracker = Descent(trainable, Course(), 1000), Tracker(trainable.model)

    def step() -> None:
        descent.clear()
        trainable.of(lesson).backward()
        descent.step(0)
        tracker.step(0.5)

    return step


def _float_step(
    module: torch.nn.Module, inputs: tuple[Tensor, ...], answers: Tensor
) -> Callable[[], None]:
    optimiser = torch.optim.AdamW(module.parameters(), 1e-5)

    def step() -> None:
        optimiser.zero_grad()
        distillation(answers, module(*inputs)[0], 2.0).backward()
        optimiser.step()

    return step


def _least(step: Callable[[], None]) -> float:
    """Milliseconds of processor time of the quickest of some steps."""
    found = []
    for _ in range(ROUNDS):
        start = time.process_time()
        step()
        found.append(time.process_time() - start)
    return 1000 * min(found)


def cases(given: argparse.Namespace) -> Iterator[Case]:
    """The cases that the command line asks for."""
    for model in given.model:
        for setting in given.setting:
            for method in given.method:
                if serves(method, setting):
                    yield Case(model, setting, method, not given.no_labels, given.seed)


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(prog="benchmarks.training", description=__doc__)
    parser.add_argument("--model", nargs="+", default=list(DIGITS))
    parser.add_argument("--setting", nargs="+", default=USUAL, choices=SETTINGS)
    parser.add_argument("--method", nargs="+", default=list(METHODS))
    parser.add_argument("--no-labels", action="store_true", help="the float model alone teaches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", action="store_true", help="the cost of a step instead")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    if given.steps:
        for name in given.model:
            sys.stdout.write(json.dumps(steps(name)) + "\n")
        return
    fill(list(cases(given)), run, RESULTS / "training.jsonl")


if __name__ == "__main__":
    main()
