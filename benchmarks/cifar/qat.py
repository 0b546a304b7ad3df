"""Training with the quantizer in the loop on the ResNet-20: this workbench and other tools.

    python -m benchmarks.cifar.qat --environments DIR [--install] [--only TEXT]

All start from the float weights of `resnet20.onnx` and see the same batches, augmented and in the
same order; `--pictures`, `--epochs` and `--batch` say how many. AdamW, rates falling along a
cosine, one seed. Stem and linear layer have 8 bits, and so has what each residual sum adds; what
convolutions read has the bits of the setting, and so have their weights, per channel. Test pictures
judge after the last step. Each case is one line of JSON in `benchmarks/results/cifar.jsonl`, and is
not measured again. Each other tool runs in its own virtual environment below DIR (`--install` makes
those that are missing). To look for a rate, give `--rate` and `--judged train`: then training
pictures judge that the case does not train on.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

import workbench
from benchmarks import environments
from benchmarks.cifar import data
from benchmarks.cifar.resnet20 import ResNet20
from benchmarks.keeping import RESULTS, fill
from workbench.foundation.errors import WorkbenchError
from workbench.methods.lessons import Lesson, augmented, chance, order
from workbench.methods.network_plan import Course
from workbench.session.data import Data
from workbench.session.data import order as dealt
from workbench.session.execute import Extent
from workbench.session.recipe import Recipe
from workbench.session.session import Session
from workbench.session.sources import ArraySource

log = logging.getLogger("benchmarks")

ROOT = Path(__file__).resolve().parents[2]
FLOAT = Path(__file__).parent / "resnet20.onnx"
CALIBRATION, SEED, TAIL = 512, 0, 300
#: what residual sums add has 8 bits; convolutions read tensors of their own
SUMMANDS = ("relu", "blocks.*.relu_2", "blocks.*.norm2")
LABELS = {"labels": 1.0, "logits": 0.0}
#: row -> method with its options; labels alone teach, as in the other tools, unless it says kd
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "lsq": ("lsq", LABELS),
    "lsq + kd": ("lsq", {"labels": 1.0, "logits": 1.0}),
    "pact": ("pact", LABELS),
    "dorefa": ("dorefa", LABELS),
    "apot": ("apot", LABELS),
}
PEERS = {"Brevitas": "brevitas_qat", "torchao": "torchao_qat"}
#: the most telling first
SETTINGS = (4, 2, 3)
#: (tool, bits) -> rate of the weights: the best of three for `lsq` and for Brevitas, judged on
#: training pictures that were not trained on; 3 bits take the rate of 4
RATES: dict[tuple[str, int], float] = {
    ("workbench", 4): 3e-4,
    ("workbench", 3): 3e-4,
    ("workbench", 2): 3e-3,
    ("Brevitas", 4): 3e-4,
    ("Brevitas", 3): 3e-4,
    ("Brevitas", 2): 3e-3,
}
USUAL_RATE = 1e-3


@dataclass(frozen=True)
class Case:
    """One cell; `bits` of weights and activations, `rate` of the weights."""

    tool: str
    method: str
    bits: int
    pictures: int
    epochs: int
    batch: int
    rate: float
    judged: str
    tested: int

    @property
    def course(self) -> Course:
        """The course that decides order and augmentation."""
        return Course(epochs=self.epochs, batch_size=self.batch, crop=data.MARGIN, flip=True)


def pool(case: Case) -> tuple[data.Pictures, data.Labels]:
    """Training pictures of the case."""
    return _dealt("train", 0, case.pictures)


def judges(case: Case) -> tuple[data.Pictures, data.Labels]:
    """Test pictures, or for a probe training pictures that the case does not train on."""
    if case.judged == "train":
        return _dealt("train", case.pictures, case.tested)
    return _dealt("test", 0, case.tested)


def _dealt(split: data.Split, first: int, count: int) -> tuple[data.Pictures, data.Labels]:
    """The classes in turn, so that any number of pictures is balanced."""
    pictures, labels = data.load(split)
    chosen = dealt(len(labels), labels)[first : first + count]
    return pictures[chosen], labels[chosen]


def examples(case: Case, session: Session) -> Data:
    """The case's pictures to train on (the first of them calibrate), and those that judge."""
    (pictures, labels), (judging, truth) = pool(case), judges(case)
    every = {
        "image": np.concatenate([pictures, judging]),
        "labels": np.concatenate([labels, truth]),
    }
    source = ArraySource(every, session.graph.inputs, data.PREPROCESS)
    rows = np.arange(len(source))
    train, test = rows[: len(labels)], rows[len(labels) :]
    record = {"kind": "arrays", "preprocess": data.PREPROCESS.record()}
    return Data("cifar", "classify", source, train[:CALIBRATION], test, False, train, record)


def recipe(case: Case) -> Recipe:
    """What the case asks of the workbench."""
    method, signals = OURS[case.method]
    options = {
        **signals,
        **case.course.model_dump(include={"epochs", "batch_size", "crop", "flip"}),
        "learning_rate": case.rate,
        "relative": True,
        "held_out": 0.0,
    }
    bits = {"bits": case.bits}
    summands = ({"pattern": f"tensor:{name}", "activations": 8} for name in SUMMANDS)
    fields: dict[str, Any] = {
        "target": "ort-cpu-vnni",
        "weights": bits,
        "activations": bits,
        "edges": 8,
        "overrides": tuple(summands),
        "transforms": ("split_shortcuts",),
        "stages": [{"method": method, "options": options}],
        "calibration_examples": CALIBRATION,
        "seed": SEED,
    }
    return Recipe(**fields)


def ours(case: Case) -> dict[str, Any]:
    """Train, export and judge with the workbench."""
    session = workbench.open(FLOAT, preprocess=data.PREPROCESS)
    session.use_data(examples(case, session))
    extent = Extent(naive=False, layers=False, verify=False, latency=False)
    start = time.process_time()
    with TemporaryDirectory() as folder:
        made = session.quantize(recipe=recipe(case), out=f"{folder}/run", extent=extent)
        report = made.report()
    scores = report["scores"]
    found = {name: scores[name]["score"] for name in ("float", "learned", "onnxruntime")}
    return found | {"cpu_seconds": round(time.process_time() - start, 1)}


def peer(case: Case, place: Path) -> dict[str, Any]:
    """The same in another tool's process; an error is recorded."""
    python = environments.python(place / case.tool.lower())
    with TemporaryDirectory() as made:
        folder = Path(made)
        prepare(case, folder)
        command = [python, "-m", f"benchmarks.cifar.peers.{PEERS[case.tool]}", folder]
        done = subprocess.run(
            [*map(str, command), str(case.bits), str(case.rate)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        if done.returncode:
            return {"error": done.stderr.strip()[-TAIL:]}
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        right = np.load(folder / "simulated.npy").argmax(1) == judges(case)[1]
    return record | {"learned": 100 * float(right.mean())}


def prepare(case: Case, folder: Path) -> None:
    """The files that another tool's script reads."""
    steps = list(batches(case))
    np.save(folder / "pictures.npy", np.stack([pictures for pictures, _ in steps]))
    np.save(folder / "labels.npy", np.stack([labels for _, labels in steps]))
    np.save(folder / "test.npy", data.normalise(judges(case)[0]).contiguous().numpy())
    torch.save(weights().state_dict(), folder / "float.pt")


def batches(case: Case) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Every batch of the course as the workbench's own training draws it."""
    pictures, labels = pool(case)
    images, targets = data.normalise(pictures).contiguous(), torch.from_numpy(labels)
    number = 0
    for epoch in range(case.epochs):
        for chosen in order(case.pictures, case.batch, SEED, epoch):
            lesson = Lesson((images[chosen],), targets[chosen])
            drawn = augmented(lesson, case.course, data.CLASSES, chance(SEED, number, 0, 1))
            yield drawn.inputs[0].numpy(), targets[chosen].numpy()
            number += 1


def weights() -> ResNet20:
    """The float network with the weights of its ONNX file."""
    model = ResNet20()
    held = {t.name: numpy_helper.to_array(t) for t in onnx.load(FLOAT).graph.initializer}
    names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    values = {name: torch.from_numpy(held[name].copy()) for name in names}
    model.load_state_dict(values, strict=False)
    return model.eval()


def install(folder: Path) -> None:
    """Make the virtual environments that are missing."""
    for tool in map(str.lower, PEERS):
        environments.install(folder / tool, ("numpy", "setuptools", tool))


def cases(given: argparse.Namespace) -> list[Case]:
    """What is asked for, the most telling first."""
    first = [("workbench", "lsq"), ("workbench", "lsq + kd"), ("Brevitas", "learned scales")]
    rest = [("workbench", "pact"), ("workbench", "dorefa"), ("workbench", "apot")]
    rows = [(*row, bits) for rows in (first, rest) for bits in SETTINGS for row in rows]
    rows.insert(len(first) * len(SETTINGS), ("torchao", "linear layer alone, W4A8", 4))
    found = []
    for tool, method, bits in rows:
        rate = given.rate or RATES.get((tool, bits), USUAL_RATE)
        size = (given.pictures, given.epochs, given.batch)
        case = Case(tool, method, bits, *size, rate, given.judged, given.tested)
        if given.only.lower() in f"{tool} {method} W{bits}A{bits}".lower():
            found.append(case)
    return found


def run(case: Case, place: Path) -> dict[str, Any]:
    """The record of a case."""
    try:
        made = ours(case) if case.tool == "workbench" else peer(case, place)
    except WorkbenchError as error:
        made = {"error": str(error)}
    return asdict(case) | made | {"threads": torch.get_num_threads()}


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(prog="benchmarks.cifar.qat", description=__doc__)
    parser.add_argument("--environments", type=Path, required=True)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--only", default="", help="part of tool, method and setting")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--judged", choices=("test", "train"), default="test")
    parser.add_argument("--tested", type=int, default=2500)
    parser.add_argument("--rate", type=float, default=0.0, help="of the weights; 0: as found")
    parser.add_argument("--out", type=Path, default=RESULTS / "cifar.jsonl")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    if given.install:
        install(given.environments)
    fill(cases(given), partial(run, place=given.environments), given.out)


if __name__ == "__main__":
    main()
