"""What a cure costs where only what it changed is learned and measured again, against all of it.

    python -m benchmarks.remeasuring digits-mobilenet --method gram --weights 3

Eight bits are given to one layer after another, at the depths asked for. The outcome is compared
tensor by tensor and number by number with that of learning and measuring everything.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

import workbench
from workbench.analysis.layer_errors import LayerError, LayerErrors
from workbench.analysis.ledger import Ledger
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import layers
from workbench.session.edits import edited
from workbench.session.execute import learned

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What comes of it, and seconds."""
    began = time.perf_counter()
    found = work()
    return found, time.perf_counter() - began


def errors(session: workbench.Session, model: QuantizedGraph, ledger: Ledger, examples: int):
    recipe = session.recipe(8, 8, "rtn")
    data = session.judging(recipe).batches("test", session.batch_size, examples)
    return LayerErrors(model, (inputs for inputs, _ in data), ledger).run()


def measure(arguments: argparse.Namespace) -> list[dict[str, object]]:
    session = workbench.open(arguments.model, data=arguments.data)
    recipe = session.recipe(
        arguments.weights, 8, arguments.method, calibration_examples=arguments.calibration
    )
    before = learned(session, recipe)
    kept = Ledger()
    errors(session, before.model.eval(), kept, arguments.examples)
    names = [layer.name for layer in layers(before.model.graph)][1:-1]
    found = []
    for depth in arguments.depths:
        name = names[round(depth * (len(names) - 1))]
        changed = edited(recipe, {"override": {"pattern": name, "weights": 8}})
        whole, all_learning = timed(lambda to=changed: learned(session, to))
        again, learning = timed(lambda to=changed: learned(session, to, before))
        states = whole.model.state(), again.model.state()
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
        known = Ledger()
        for key in kept:
            known.put(key, kept[key])
        pair: list[tuple[list[LayerError], float]] = [
            timed(lambda m=made.model, k=ledger: errors(session, m.eval(), k, arguments.examples))
            for made, ledger in ((whole, Ledger()), (again, known))
        ]
        assert pair[0][0] == pair[1][0]
        found.append(
            {
                "layer": name,
                "depth": depth,
                "learning_s": (all_learning, learning),
                "measuring_s": (pair[0][1], pair[1][1]),
                "share": (learning + pair[1][1]) / (all_learning + pair[0][1]),
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--method", default="gram")
    parser.add_argument("--weights", type=int, default=3)
    parser.add_argument("--calibration", type=int, default=512)
    parser.add_argument("--examples", type=int, default=128)
    parser.add_argument("--depths", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    for row in measure(parser.parse_args()):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
