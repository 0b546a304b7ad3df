"""What the training scripts share: seeds, device, the loop, and data for the digit models."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sample_models.train.card import About, Trained, write_digit_card
from sample_models.train.export import export
from workbench.session import digits

log = logging.getLogger("sample_models")

Batch = tuple[Tensor, Tensor]
Batches = Callable[[int], Iterator[Batch]]


@dataclass(frozen=True)
class Plan:
    """How long and how hard to train: AdamW under a one-cycle learning rate.

    `half` computes in bfloat16 (the weights stay float32): faster for the matrix products of a
    transformer, not for small convolutions.
    """

    epochs: int
    batch: int
    rate: float
    decay: float = 0.05
    smoothing: float = 0.0
    warm_up: float = 0.15
    clip: float = 1.0
    half: bool = False
    seed: int = 0


def begin(seed: int) -> torch.device:
    """Set up logging and seeds; the device to train on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for library in ("onnx_ir", "onnxscript", "torch.onnx"):
        logging.getLogger(library).setLevel(logging.ERROR)
    torch.manual_seed(seed)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fit(
    model: nn.Module, batches: Batches, steps: int, plan: Plan, device: torch.device
) -> Trained:
    """Train `model` in place, `steps` batches in each epoch; it is left on the CPU in eval mode.

    `batches(epoch)` yields inputs and targets. Logits are `(..., classes)`, targets `(...)`.
    """
    model.to(device).train()
    optimiser = torch.optim.AdamW(_groups(model, plan.decay), lr=plan.rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.rate, total_steps=plan.epochs * steps, pct_start=plan.warm_up
    )
    started = time.perf_counter()
    for epoch in range(plan.epochs):
        losses: list[Tensor] = []
        for inputs, targets in batches(epoch):
            with torch.autocast(device.type, torch.bfloat16, enabled=plan.half):
                logits = model(inputs.to(device))
            loss = functional.cross_entropy(
                logits.flatten(0, -2).float(),
                targets.to(device).flatten(),
                label_smoothing=plan.smoothing,
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
            optimiser.step()
            schedule.step()
            losses.append(loss.detach())
        mean = torch.stack(losses).mean().item()
        seconds = time.perf_counter() - started
        log.info("epoch %d/%d loss %.4f, %.0f s", epoch + 1, plan.epochs, mean, seconds)
    model.to("cpu").eval()
    return Trained(plan.epochs, plan.seed, round(time.perf_counter() - started, 1), device.type)


def make_digit_model(about: About, build: Callable[[], nn.Module], plan: Plan) -> None:
    """Train a digit model, export it and write its card."""
    device = begin(plan.seed)
    model = build()
    batches, steps = digit_batches(plan)
    trained = fit(model, batches, steps, plan, device)
    example, _ = digits.load("calibration")
    path = export(model, about.name, "image", torch.from_numpy(example[:5]))
    write_digit_card(path, about, trained)


def digit_batches(plan: Plan) -> tuple[Batches, int]:
    """Batches of distorted training digits, distorted anew in each epoch; and their number.

    Inputs are `(batch, 1, 28, 28)` float32, targets `(batch,)` int64.
    """
    images, labels = digits.raw("train")
    steps = len(images) // plan.batch

    def batches(epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng([plan.seed, epoch])
        inputs = torch.from_numpy(digits.normalise(digits.distort(images, rng)))
        targets = torch.from_numpy(labels)
        order = torch.from_numpy(rng.permutation(len(images)))
        for step in range(steps):
            chosen = order[step * plan.batch : (step + 1) * plan.batch]
            yield inputs[chosen], targets[chosen]

    return batches, steps


def _groups(model: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices and kernels only, not for biases, norms and embeddings."""
    parameters = dict(model.named_parameters())
    shrunk = [p for name, p in parameters.items() if p.ndim > 1 and "position" not in name]
    free = [p for name, p in parameters.items() if p.ndim <= 1 or "position" in name]
    return [
        {"params": shrunk, "weight_decay": decay},
        {"params": free, "weight_decay": 0.0},
    ]
