"""Mixed precision against one width for all, at the same average number of bits, held-out score.

    python -m benchmarks.mixed [--model NAME ...] [--out FILE]

Weights get an average of so many bits, chosen by `workbench allocate`, or that many each; then they
are rounded to nearest or by the Gram lane, and held-out examples judge the simulation and the file
in ONNX Runtime. digits-mobilenet has 8-bit activations; its first and last layer have 8 bits and
are not in the average. In EfficientNet-Lite0 all layers are alike and activations float. One line
of JSON for each case; those that stand in the file are not run again.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import workbench
from benchmarks.accuracy import PICTURES
from benchmarks.efficientnet import CALIBRATION
from benchmarks.keeping import RESULTS, fill
from workbench.session.execute import Extent
from workbench.session.recipe import Recipe
from workbench.session.session import Session

PICTURED = "efficientnet-lite0"
MODELS = ("digits-mobilenet", PICTURED)
UNIFORM = "uniform"
#: ridges of the Gram lane for a hundred pictures; moments of as many rows as fit a shared machine
CAREFUL = {"damping": 0.5, "rounding_damping": 1.0}
#: examples that sensitivities are measured on, and that choices are judged on together
EXAMPLES = {"digits-mobilenet": (256, 512), PICTURED: (64, 64)}


@dataclass(frozen=True)
class Case:
    """A model at an average width.

    Attributes:
        bits: of each value on average.
        method: that rounds.
        choice: UNIFORM, or "METHOD, SENSITIVITY" of the allocation.
        seed: of the labels that are drawn, and of searches.
    """

    model: str
    bits: int
    method: str
    choice: str
    seed: int = 0


MILP = "milp, fisher"
CASES = (
    *(Case("digits-mobilenet", bits, "rtn", UNIFORM) for bits in (3, 4)),
    *(Case("digits-mobilenet", bits, "rtn", MILP) for bits in (3, 4)),
    Case("digits-mobilenet", 3, "rtn", "cem, fisher"),
    *(
        Case("digits-mobilenet", bits, "gram", choice)
        for bits in (3, 4)
        for choice in (UNIFORM, MILP)
    ),
    *(
        Case("digits-mobilenet", 3, "rtn", choice)
        for choice in ("milp, exact", "hawq, hawq", "haq, fisher")
    ),
    Case("digits-mobilenet", 4, "rtn", "cem, fisher"),
    *(
        Case(PICTURED, bits, method, choice)
        for bits in (4, 3)
        for method in ("rtn", "gram")
        for choice in (UNIFORM, MILP)
    ),
)


def run(case: Case) -> dict[str, Any]:
    """Choose, learn, judge."""
    session, recipe = _session(case.model), _recipe(case)
    start = time.process_time()
    costs = {"average_bits": float(case.bits)}
    if case.choice != UNIFORM:
        recipe, costs = _allocated(session, recipe, case)
    chosen = time.process_time() - start
    extent = Extent(naive=False, layers=False, verify=False, latency=False)
    with TemporaryDirectory() as folder:
        report = session.quantize(recipe=recipe, out=f"{folder}/run", extent=extent).report()
    scores = report["scores"]
    return {
        **case.__dict__,
        "float": scores["float"]["score"],
        "score": scores["learned"]["score"],
        "onnxruntime": scores["onnxruntime"]["score"],
        "agreement": scores["learned"]["agreement"],
        "kl": scores["learned"]["kl"],
        "average_bits": costs["average_bits"],
        "choosing_cpu_seconds": round(chosen, 1),
    }


def _allocated(session: Session, recipe: Recipe, case: Case) -> tuple[Recipe, dict[str, float]]:
    method, sensitivity = case.choice.split(", ")
    examples, judged = EXAMPLES[case.model]
    found = session.allocate(
        recipe.changed(seed=case.seed),
        {"average_bits": case.bits},
        method=method,
        sensitivity=sensitivity,
        rounding="nearest" if case.method == "rtn" else case.method,
        examples=examples,
        judged=judged,
        search={"seed": case.seed},
    )
    return found.recipe, dict(found.chosen.costs)


def _recipe(case: Case) -> Recipe:
    stage: dict[str, Any] = {"method": case.method}
    if case.model != PICTURED:
        return Recipe(weights={"bits": case.bits}, stages=[stage])
    if case.method == "gram":
        stage["options"] = CAREFUL
    return Recipe(
        target="weight-only",
        weights={"bits": case.bits},
        activations="float",
        edges="same",
        calibration_examples=CALIBRATION,
        stages=[stage],
    )


@cache
def _session(model: str) -> Session:
    return workbench.open(model, data=PICTURES if model == PICTURED else None)


def main() -> None:
    """Parse, run."""
    parser = argparse.ArgumentParser(prog="benchmarks.mixed", description=__doc__)
    parser.add_argument("--model", action="append", choices=MODELS, help="again for more")
    parser.add_argument("--out", type=Path, default=RESULTS / "mixed.jsonl")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("benchmarks").setLevel(logging.INFO)
    wanted = [replace(c, seed=given.seed) for c in CASES if c.model in (given.model or MODELS)]
    fill(wanted, run, given.out)


if __name__ == "__main__":
    main()
