"""What learning costs: time and memory against the number of images, layers and channels.

    python -m benchmarks.curves [--quick] [--axis NAME ...] [--method NAME ...] [--seeds N]

Along each axis one size grows and the others stay:

    images    calibration examples of digits-mobilenet; beyond a thousand they are gone through
              again, moved by a little noise
    layers    convolutions of 32 channels in a row, 3 x 3, on 8 x 8 pixels, each with a ReLU
    channels  of four such convolutions, on 4 x 4 pixels

The networks of the last two have random weights and see 64 random images. Weights and activations
have 4 bits, the first and last layer 8. Each case has a process of its own with one thread, so that
its peak of memory is its own. Time is processor time: other work on the machine does not count,
except in what it takes from the caches. Cases that stand in `benchmarks/results/curves.jsonl` are
left out. `python -m benchmarks.tables` writes the Markdown.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import linear_regression

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper, save
from torch import Tensor

from benchmarks.keeping import RESULTS, fill
from benchmarks.memory import alone, learning, repeated

MODEL = "digits-mobilenet"
#: axis -> its sizes
SIZES: dict[str, tuple[int, ...]] = {
    "images": (32, 64, 128, 256, 512, 1024, 2048),
    "layers": (2, 4, 8, 16, 32, 64),
    "channels": (16, 32, 64, 128, 256, 512),
}
QUICK = {"images": (32, 128, 512), "layers": (2, 8, 32), "channels": (16, 64, 256)}
METHODS: dict[str, Mapping[str, object]] = {
    "rtn": {},
    "gram": {},
    "gptq": {},
    "adaround": {"iterations": 20},
}
IMAGES, BATCH = 64, 32
CHANNELS, PIXELS = 32, 8  # while layers grow
LAYERS, FEW_PIXELS = 4, 4  # while channels grow


@dataclass(frozen=True)
class Case:
    """One point of a curve."""

    axis: str
    size: int
    method: str
    seed: int = 0


def cases(sizes: Mapping[str, tuple[int, ...]], methods: list[str], seeds: int) -> list[Case]:
    """Small ones first, so that what is there after an interruption is of use."""
    every = (
        Case(axis, size, method, seed)
        for seed in range(seeds)
        for axis, grown in sizes.items()
        for size in grown
        for method in methods
    )
    return list(every)


def run(case: Case) -> dict[str, object]:
    """The record of one case, measured in a fresh process."""
    return asdict(case) | alone("benchmarks.curves", json.dumps(asdict(case)))


def exponent(costs: Mapping[int, float]) -> float | None:
    """p of cost ~ size^p: the slope between logarithms over the upper half of the sizes.

    None where fewer than three sizes are given, or one of the upper half cost nothing.
    """
    upper = sorted(costs)[(len(costs) - 1) // 2 :]
    if len(costs) < 3 or min(costs[size] for size in upper) <= 0:
        return None
    return linear_regression(
        [math.log(size) for size in upper], [math.log(costs[size]) for size in upper]
    ).slope


# --- in the process of the case -------------------------------------------------------------------


def one(case: Case, folder: Path) -> dict[str, object]:
    """Learn in this process, and say what it took."""
    import workbench
    from workbench.methods.base import Task

    torch.set_num_threads(1)
    options = METHODS[case.method]
    if case.axis == "images":
        session, examples = workbench.open(MODEL), case.size
        task = Task(lambda: repeated(session, examples), examples, case.seed)
    else:
        layers = (case.size, CHANNELS, PIXELS)
        wide = (LAYERS, case.size, FEW_PIXELS)
        shape = layers if case.axis == "layers" else wide
        path = folder / "stack.onnx"
        stack(path, *shape, case.seed)
        session = workbench.open(path)
        task = Task(lambda: random_images(*shape[1:], case.seed), IMAGES, case.seed)
    found = learning(session.graph, case.method, options, task, folder)
    return {"options": dict(options), "threads": torch.get_num_threads(), **found}


def stack(path: Path, layers: int, channels: int, pixels: int, seed: int) -> None:
    """Write an ONNX file of 3 x 3 convolutions in a row, a ReLU between two."""
    generator = np.random.default_rng(seed)
    nodes, weights, name = [], [], "images"
    for index in range(layers):
        weight = generator.standard_normal((channels, channels, 3, 3), np.float32)
        weights.append(numpy_helper.from_array(weight * (2 / (9 * channels)) ** 0.5, f"w{index}"))
        conv = helper.make_node("Conv", [name, f"w{index}"], [f"c{index}"], pads=[1, 1, 1, 1])
        nodes += [conv, helper.make_node("Relu", [f"c{index}"], [f"r{index}"])]
        name = f"r{index}"
    nodes.pop()
    shape = ["N", channels, pixels, pixels]
    ends = (("images", shape), (f"c{layers - 1}", shape))
    first, last = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in ends)
    graph = helper.make_graph(nodes, "stack", [first], [last], weights)
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))


def random_images(channels: int, pixels: int, seed: int) -> Iterator[tuple[Tensor, ...]]:
    """The same batches of normal numbers at each call."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(IMAGES // BATCH):
        yield (torch.randn(BATCH, channels, pixels, pixels, generator=generator),)


def main() -> None:
    """Run what is missing, one line each."""
    parser = argparse.ArgumentParser(prog="benchmarks.curves", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three sizes of each axis")
    parser.add_argument("--axis", nargs="*", default=list(SIZES), choices=SIZES)
    parser.add_argument("--method", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "curves.jsonl")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sizes = {axis: (QUICK if given.quick else SIZES)[axis] for axis in given.axis}
    fill(cases(sizes, given.method, given.seeds), run, given.out)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        asked, place = sys.argv[2:]
        print(json.dumps(one(Case(**json.loads(asked)), Path(place))))
    else:
        main()
