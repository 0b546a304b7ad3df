"""Write the trained ResNet-20 as ONNX, with its training log and its card.

    python -m benchmarks.cifar.export [--trained FOLDER] [--out FOLDER]

The score in the card is that of the ONNX file in ONNX Runtime on the test pictures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from benchmarks.cifar import data
from benchmarks.cifar.resnet20 import ResNet20
from benchmarks.cifar.train import Plan
from benchmarks.keeping import recorded
from sample_models.train.card import count_macs, count_parameters
from sample_models.train.export import export
from workbench.session.known import cache_dir

log = logging.getLogger("benchmarks")

NAME = "resnet20"
BATCH = 250


def trained(path: Path) -> tuple[nn.Module, dict[str, int]]:
    """The network of a checkpoint, and after how many epochs of how many it was written."""
    state: dict[str, Any] = torch.load(path, weights_only=True)
    model = ResNet20()
    model.load_state_dict(state["model"])
    return model.eval(), {"epochs": state["epoch"], "planned": state["epochs"]}


def score(path: Path) -> dict[str, Any]:
    """Top-1 of an ONNX file on the test pictures."""
    pictures, labels = data.load("test")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    right = 0
    for first in range(0, len(pictures), BATCH):
        images = data.normalise(pictures[first : first + BATCH]).contiguous().numpy()
        logits = np.asarray(session.run(["logits"], {"image": images})[0])
        right += int((logits.argmax(1) == labels[first : first + BATCH]).sum())
    value = round(100 * right / len(labels), 2)
    return {"metric": "top-1", "value": value, "unit": "%", "split": "test", "n": len(labels)}


def card(path: Path, epochs: dict[str, int], seconds: float) -> dict[str, Any]:
    """What the file is, how good it is and where it came from."""
    model, content = onnx.load(path), path.read_bytes()
    return {
        "name": NAME,
        "title": "CIFAR-10, ResNet-20",
        "architecture": "He et al. 2015, arXiv:1512.03385, shortcuts without parameters",
        "parameters": count_parameters(model),
        "macs": count_macs(model),
        "score": score(path),
        "data": "CIFAR-10 as JPEG copies: 50,000 train, 5,000 of the test pictures",
        "preprocess": {"mean": data.MEAN, "std": data.STD, "pixels": 1},
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "trained": {
            "script": "benchmarks/cifar/train.py",
            **epochs,
            "seed": Plan.seed,
            "seconds": seconds,
        },
    }


def write(source: Path, folder: Path) -> dict[str, Any]:
    """Export what lies in `source`; the card, which is written too."""
    model, epochs = trained(source / f"{NAME}.pt")
    example, _ = data.load("test")
    path = export(model, NAME, "image", data.normalise(example[:5]).contiguous(), folder)
    notes = source / f"{NAME}.jsonl"
    if source.resolve() != folder.resolve():
        shutil.copyfile(notes, folder / notes.name)
    seconds = round(sum(record["seconds"] for record in recorded(notes)), 1)
    made = card(path, epochs, seconds)
    (folder / f"{NAME}.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    return made


def main() -> None:
    """Export what training left in its folder."""
    parser = argparse.ArgumentParser(prog="benchmarks.cifar.export", description=__doc__)
    parser.add_argument("--trained", type=Path, default=cache_dir() / "cifar")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for library in ("onnx_ir", "onnxscript", "torch.onnx"):
        logging.getLogger(library).setLevel(logging.ERROR)
    log.info("%s", write(given.trained, given.out)["score"])


if __name__ == "__main__":
    main()
