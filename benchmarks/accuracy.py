"""Accuracy of post-training methods: models x settings x methods x seeds, on held-out data.

    python -m benchmarks.accuracy [--model NAME ...] [--setting W4A4 ...] [--method NAME ...]

Each case is one line of JSON in `benchmarks/results/accuracy.jsonl`; cases that stand there already
are left out, so that the table can be filled in pieces. `python -m benchmarks.tables` writes the
Markdown. A method is one or several stages joined by "+", as on the command line; transforms come
before them, joined by ">": "smooth>gram". Weights per channel (group-wise, 32, where a setting
says g32), first and last layer at 8 bits ("edges") unless `--edges same`; weight-only settings
leave all activations in float, and their first and last layer has the bits of the others.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import workbench
from benchmarks.keeping import RESULTS, append, missing
from benchmarks.machine import stamp
from benchmarks.places import DATA
from benchmarks.resident import peak
from workbench.foundation.errors import WorkbenchError
from workbench.graph.quantized import QuantizedGraph
from workbench.methods.base import Task
from workbench.methods.registry import make
from workbench.session.execute import build
from workbench.session.recipe import Recipe, Stage
from workbench.session.scores import Comparison
from workbench.session.session import Session

PICTURES = DATA / "imagenet_samples_500.zip"
#: data of the models that bring none of their own
GIVEN = {"efficientnet-lite0": PICTURES, "minilm": DATA / "stsb_dev.tsv"}


@dataclass(frozen=True)
class Setting:
    """Grids, and where the file would run."""

    weights: int
    activations: int | None
    group: int = 0

    def recipe(self, method: str, seed: int, examples: int, edges: int | str) -> Recipe:
        """The recipe of one case."""
        transforms, _, stages = method.rpartition(">")
        weights: dict[str, Any] = {"bits": self.weights}
        if self.group:
            weights |= {"granularity": "group", "group_size": self.group}
        return Recipe(
            target="weight-only" if self.activations is None else "ort-cpu-vnni",
            weights=weights,  # type: ignore[arg-type]
            activations="float" if self.activations is None else {"bits": self.activations},  # type: ignore[arg-type]
            edges="same" if self.activations is None else edges,  # type: ignore[arg-type]
            transforms=tuple(filter(None, transforms.split(">"))),
            stages=tuple(Stage(method=name) for name in stages.split("+")),
            seed=seed,
            calibration_examples=examples,
        )


SETTINGS = {
    "W8A8": Setting(8, 8),
    "W4A8": Setting(4, 8),
    "W4A4": Setting(4, 4),
    "W4": Setting(4, None),
    "W3": Setting(3, None),
    "W2": Setting(2, None),
    "W4g32": Setting(4, None, 32),
    "W3g32": Setting(3, None, 32),
}
#: name -> (calibration examples, test examples or None for all)
MODELS: dict[str, tuple[int, int | None]] = {
    "digits-resnet": (512, None),
    "digits-mobilenet": (512, None),
    "digits-vit": (512, None),
    "digits-gru": (512, None),
    "bytegpt": (512, None),
    "minilm": (128, None),
    "efficientnet-lite0": (100, 400),
}
METHODS = ("rtn", "gram", "gptq", "adaround", "qdrop")


@dataclass(frozen=True)
class Case:
    """One cell of the table."""

    model: str
    setting: str
    method: str
    edges: str
    seed: int


def run(case: Case) -> dict[str, Any]:
    """Learn and judge; the record, with the error's text where the case is refused."""
    record: dict[str, Any] = asdict(case)
    session = opened(case.model)
    examples, limit = MODELS[case.model]
    edges = case.edges if case.edges == "same" else int(case.edges)
    try:
        recipe = SETTINGS[case.setting].recipe(case.method, case.seed, examples, edges)
        return record | _measure(session, recipe, limit)
    except WorkbenchError as error:
        return record | {"error": str(error)}


@cache
def opened(name: str) -> Session:
    """The model with its own data, or pictures or pairs of sentences."""
    return workbench.open(name, data=GIVEN.get(name))


def learned(
    session: Session, recipe: Recipe, batches: list[tuple[Tensor, ...]], examples: int
) -> tuple[QuantizedGraph, list[str]]:
    """A quantized model that went through the recipe's stages, and what they noted."""
    model = build(session, recipe).eval()
    notes = []
    for index, stage in enumerate(recipe.stages):
        torch.manual_seed(recipe.seed)
        task = Task(lambda: iter(batches), examples, recipe.seed, stage=index)
        events = make(stage.method, stage.options).learn(model, task)
        notes += [event.text for event in events if event.kind == "note"]
    return model, notes


def _measure(session: Session, recipe: Recipe, limit: int | None) -> dict[str, Any]:
    data = session.data.calibrate_on(recipe.calibration_examples)
    batches = [inputs for inputs, _ in data.batches("calibration", session.batch_size)]
    start = time.perf_counter(), time.process_time()
    model, notes = learned(session, recipe, batches, data.size("calibration"))
    seconds, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    comparison = Comparison(session.model, {"quantized": model}, data.task)
    with torch.no_grad():
        for inputs, labels in data.batches("test", session.batch_size, limit):
            comparison.add(inputs, labels)
    found = comparison.records()
    return {
        "metric": found["float"]["metric"],
        "float": found["float"]["score"],
        "score": found["quantized"]["score"],
        "sqnr_db": found["quantized"].get("sqnr_db"),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "peak_gib": round(peak() / 1024, 2),
        "threads": torch.get_num_threads(),
        "notes": len(notes),
    }


def main() -> None:
    """Run what is missing, one line each."""
    parser = argparse.ArgumentParser(prog="benchmarks.accuracy", description=__doc__)
    parser.add_argument("--model", nargs="*", default=list(MODELS), choices=MODELS)
    parser.add_argument("--setting", nargs="*", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--method", nargs="*", default=METHODS)
    parser.add_argument("--edges", default="8")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "accuracy.jsonl")
    given = parser.parse_args()
    wanted = [
        Case(model, setting, method, given.edges, seed)
        for model in given.model
        for setting in given.setting
        for method in given.method
        for seed in range(given.seeds)
    ]
    for case in missing(wanted, given.out):
        record = run(case) | stamp()
        append(given.out, [record])
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
