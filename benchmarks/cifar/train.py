"""Train the ResNet-20 on CIFAR-10 from scratch, on a CPU.

    python -m benchmarks.cifar.train [--epochs N] [--threads N] [--out FOLDER]

SGD with Nesterov momentum under a one-cycle learning rate; convolutions compute in bfloat16 where
`--float32` is not given, weights stay float32. After each epoch a checkpoint is written, from which
the same command goes on, and a line of JSON: epoch, loss, test accuracy (float32), seconds.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR

from benchmarks.cifar import data
from benchmarks.cifar.resnet20 import ResNet20
from benchmarks.keeping import append
from workbench.session.known import cache_dir

log = logging.getLogger("benchmarks")


@dataclass(frozen=True)
class Plan:
    """How long and how hard to train; `smoothing` is that of the labels."""

    epochs: int = 30
    batch: int = 128
    rate: float = 0.2
    momentum: float = 0.9
    decay: float = 5e-4
    smoothing: float = 0.0
    warm_up: float = 0.2
    half: bool = True
    seed: int = 0


@dataclass
class Training:
    """A network on its way, with all that a checkpoint has to hold."""

    plan: Plan
    steps: int
    epoch: int = 0
    model: nn.Module = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)
    schedule: OneCycleLR = field(init=False)

    def __post_init__(self) -> None:
        plan = self.plan
        torch.manual_seed(plan.seed)
        self.model = ResNet20().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.SGD(
            self.model.parameters(),
            lr=plan.rate,
            momentum=plan.momentum,
            weight_decay=plan.decay,
            nesterov=True,
        )
        self.schedule = OneCycleLR(
            self.optimiser,
            plan.rate,
            total_steps=plan.epochs * self.steps,
            pct_start=plan.warm_up,
            cycle_momentum=False,
        )

    def save(self, path: Path) -> None:
        """Write everything to a file, which is whole at each moment."""
        state = {
            "epoch": self.epoch,
            "epochs": self.plan.epochs,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def restore(self, path: Path) -> None:
        """Go on from a file that `save` wrote."""
        state: dict[str, Any] = torch.load(path, weights_only=True)
        if state["epochs"] != self.plan.epochs:
            raise ValueError(
                f"'{path}' is of {state['epochs']} epochs, not {self.plan.epochs}: "
                f"give --epochs {state['epochs']} or another --out"
            )
        self.epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])

    def one_epoch(self, pictures: data.Pictures, labels: data.Labels) -> float:
        """One pass over the training pictures; the mean loss."""
        self.model.train()
        rng = np.random.default_rng([self.plan.seed, self.epoch])
        batches = data.batches(pictures, labels, self.plan.batch, rng)
        losses = [self.step(images, targets) for images, targets in batches]
        self.epoch += 1
        return torch.stack(losses).mean().item()

    def step(self, images: Tensor, targets: Tensor) -> Tensor:
        """One update of the weights; the loss before it."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.plan.half):
            logits = self.model(images)
        loss = functional.cross_entropy(
            logits.float(), targets, label_smoothing=self.plan.smoothing
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        return loss.detach()


def accuracy(model: nn.Module, pictures: data.Pictures, labels: data.Labels) -> float:
    """Per cent of pictures whose largest logit is that of the label, in float32."""
    model.eval()
    with torch.no_grad():
        parts = [
            model(data.normalise(pictures[first : first + 250])).argmax(1)
            for first in range(0, len(pictures), 250)
        ]
    return round(100 * float((torch.cat(parts).numpy() == labels).mean()), 2)


def train(plan: Plan, folder: Path) -> nn.Module:
    """Train to the end, from the checkpoint in `folder` where there is one."""
    images, labels = data.load("train")
    test = data.load("test")
    training = Training(plan, len(images) // plan.batch)
    checkpoint = folder / "resnet20.pt"
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        training.restore(checkpoint)
    while training.epoch < plan.epochs:
        started = time.perf_counter()
        loss = round(training.one_epoch(images, labels), 4)
        seconds = round(time.perf_counter() - started, 1)
        score = accuracy(training.model, *test)
        record = {"epoch": training.epoch, "loss": loss, "accuracy": score, "seconds": seconds}
        append(folder / "resnet20.jsonl", [record])
        training.save(checkpoint)
        log.info("%d/%d %s", training.epoch, plan.epochs, record)
    return training.model


def main() -> None:
    """Train with what the command line says."""
    parser = argparse.ArgumentParser(prog="benchmarks.cifar.train", description=__doc__)
    parser.add_argument("--epochs", type=int, default=Plan.epochs)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--smoothing", type=float, default=Plan.smoothing)
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--out", type=Path, default=cache_dir() / "cifar")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(given.threads)
    plan = Plan(epochs=given.epochs, smoothing=given.smoothing, half=not given.float32)
    train(plan, given.out)


if __name__ == "__main__":
    main()
