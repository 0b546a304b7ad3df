"""The best post-training recipes, each with what it may lose, judged in simulation and in the file.

    python -m benchmarks.recipes [NAME ...]

One line of JSON for each: the float score, the score after learning in simulation and of the
exported file in ONNX Runtime, what was lost (points of top-1, or percent more bits per byte), what
may be lost, seconds. All held-out examples judge. In the
weight-only recipes every layer has the bits named, the first and last too.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import workbench
from benchmarks.accuracy import PICTURES
from benchmarks.efficientnet import CAREFUL
from workbench.session.execute import Extent
from workbench.session.recipe import Recipe

PICTURED = "efficientnet-lite0"
GRAM = ("gram",)
#: a hundred pictures are few for a thousand classes
FEW = {
    "calibration_examples": 100,
    "stages": [{"method": "gram", "options": CAREFUL}],
}


@dataclass(frozen=True)
class Goal:
    """A recipe and the most that it may lose.

    Attributes:
        model: its name.
        recipe: fields of a `Recipe`.
        loss: points of top-1, or percent more bits per byte; None where the file shall only agree
            with the simulation.
    """

    model: str
    recipe: Mapping[str, Any]
    loss: float | None


def incoherent(bits: int) -> dict[str, Any]:
    """Fields for inverted residual blocks and few pictures: each row gets a zero-point too."""
    fields = weights_only(bits, GRAM, transforms=["incoherence"])
    return fields | FEW | {"weights": {"bits": bits, "symmetric": False}}


def weights_only(bits: int, methods: tuple[str, ...], group: int = 0, **fields: Any) -> dict:
    """Fields of a recipe that leaves activations in float."""
    grouped = {"granularity": "group", "group_size": group} if group else {}
    return {
        "target": "weight-only",
        "weights": {"bits": bits, **grouped},
        "activations": "float",
        "edges": "same",
        "stages": [{"method": name} for name in methods],
        **fields,
    }


GOALS = {
    "lite0-w4": Goal(PICTURED, incoherent(4), 1.5),
    "lite0-w3": Goal(PICTURED, incoherent(3), 7.0),
    "lite0-w4a8": Goal(
        PICTURED,
        {
            "weights": {"bits": 4},
            **FEW,
        },
        None,
    ),
    "bytegpt-w4g32": Goal("bytegpt", weights_only(4, GRAM, group=32), 1.0),
    "bytegpt-w3g32": Goal("bytegpt", weights_only(3, GRAM, group=32), 4.0),
    "mobilenet-w4a4": Goal(
        "digits-mobilenet",
        {"weights": {"bits": 4}, "activations": {"bits": 4}, "stages": [{"method": "qdrop"}]},
        0.30,
    ),
    "vit-w4a4": Goal(
        "digits-vit",
        {"weights": {"bits": 4}, "activations": {"bits": 4}, "stages": [{"method": "qdrop"}]},
        0.28,
    ),
}


def row(name: str) -> dict[str, Any]:
    """Make the run and read its report."""
    goal = GOALS[name]
    session = workbench.open(goal.model, data=PICTURES if goal.model == PICTURED else None)
    extent = Extent(naive=False, layers=False, verify=False, latency=False)
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        run = session.quantize(recipe=Recipe(**goal.recipe), out=f"{folder}/run", extent=extent)
        scores = run.report()["scores"]
    return {
        "recipe": name,
        "float": scores["float"]["score"],
        "learned": scores["learned"]["score"],
        "onnxruntime": scores["onnxruntime"]["score"],
        "loss": _loss(scores["float"], scores["learned"]),
        "loss_in_file": _loss(scores["float"], scores["onnxruntime"]),
        "may_lose": goal.loss,
        "seconds": round(time.perf_counter() - start, 1),
    }


def _loss(reference: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    """Points where more is better, percent of the bits where fewer are."""
    gap = found["score"] - reference["score"]
    return 100 * gap / reference["score"] if reference["unit"] == "bits" else -gap


if __name__ == "__main__":
    for wanted in sys.argv[1:] or GOALS:
        sys.stdout.write(json.dumps(row(wanted)) + "\n")
        sys.stdout.flush()
