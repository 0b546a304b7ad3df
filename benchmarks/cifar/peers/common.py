"""What a peer's script shares with the others; it needs torch and NumPy only.

A script is run as `PYTHON -m benchmarks.cifar.peers.NAME FOLDER BITS RATE`. The folder holds
`float.pt` (the weights of the ResNet-20), `pictures.npy` and `labels.npy` (steps, batch, ...): the
batches of the whole course, augmented and in order, the same for each tool; and `test.npy`. The
script leaves `simulated.npy`, logits of the test pictures, and `record.json`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.cifar.resnet20 import ResNet20
from benchmarks.resident import peak

SCALE_RATE = 1e-3  # of scales, as a share of each
JUDGED = 250  # pictures at once
Quantize = Callable[[ResNet20, int, Path], tuple[nn.Module, dict[str, Any]]]


def network(folder: Path) -> ResNet20:
    """The float network."""
    model = ResNet20()
    model.load_state_dict(torch.load(folder / "float.pt", weights_only=True))
    return model


def lessons(folder: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures and labels, step by step."""
    pictures = np.load(folder / "pictures.npy", mmap_mode="r")
    labels = np.load(folder / "labels.npy")
    for x, y in zip(pictures, labels, strict=True):
        yield torch.from_numpy(np.array(x)), torch.from_numpy(y)


def train(model: nn.Module, folder: Path, rate: float) -> None:
    """AdamW on the labels, the rate falling along a cosine; no decay.

    Parameters whose name ends in `value` are logarithms of scales, with a rate of their own.
    """
    steps = len(np.load(folder / "labels.npy"))
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        groups[name.endswith("value")].append(parameter)
    listed = [{"params": groups[False], "lr": rate}, {"params": groups[True], "lr": SCALE_RATE}]
    optimiser = torch.optim.AdamW([g for g in listed if g["params"]], weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    model.train()
    for pictures, labels in lessons(folder):
        loss = functional.cross_entropy(model(pictures), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()


def logits(model: nn.Module, folder: Path) -> np.ndarray[Any, Any]:
    """Of the test pictures."""
    model.eval()
    with torch.no_grad():
        parts = torch.from_numpy(np.load(folder / "test.npy")).split(JUDGED)
        return torch.cat([model(part) for part in parts]).numpy()


def main(package: str, quantize: Quantize) -> None:
    """Quantize, train, judge, and leave the record; judging is not in the seconds."""
    folder, bits, rate = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    torch.manual_seed(0)
    torch.set_num_threads(1)
    start = time.process_time()
    model, facts = quantize(network(folder), bits, folder)
    train(model, folder, rate)
    record = {
        "version": version(package),
        "cpu_seconds": round(time.process_time() - start, 1),
        "peak_gib": round(peak() / 1024, 2),
        **facts,
    }
    np.save(folder / "simulated.npy", logits(model, folder))
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
