"""A training loop of one's own: the network to train, its examples, and the run made of it at last.

    training = session.trainable(weights=4, activations=4, method="kd")
    optimiser = torch.optim.AdamW(training.network.groups()["weights"], 1e-3)
    for inputs, labels in training.batches(50):
        training.network.loss(*inputs, labels=labels).backward()
        ...
    run = training.finish()

The network is an `nn.Module`; what its loss holds, its method's plan says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.foundation.errors import RecipeError
from workbench.methods.base import Batch, Task
from workbench.methods.calibrate import ensure_ranges
from workbench.methods.network_training import NetworkTraining
from workbench.methods.overflow import make_room_for_biases
from workbench.methods.registry import METHODS, make
from workbench.methods.trainable import Trainable
from workbench.session.execute import Extent, build
from workbench.session.recipe import Recipe
from workbench.session.runs import Run
from workbench.session.teaching import located, teacher

if TYPE_CHECKING:
    from workbench.session.session import Session


@dataclass(frozen=True)
class OwnTraining:
    """A network that somebody trains.

    Attributes:
        session, recipe: what it was made from.
        network: quantizers in place, calibrated and ready to learn.
    """

    session: Session
    recipe: Recipe
    network: Trainable

    def batches(self, size: int = 50, epoch: int = 0) -> Iterator[tuple[Batch, Tensor | None]]:
        """The examples to train on, (inputs, labels or None), shuffled anew for each epoch."""
        data = self.session.calibrating(self.recipe)
        chance = torch.Generator().manual_seed(self.recipe.seed + epoch)
        return data.shuffled("train", size, chance)

    def finish(self, out: str | Path | None = None, extent: Extent | None = None) -> Run:
        """Export what was trained, prove it and judge it: a run like any other.

        Args:
            out, extent: as for `Session.quantize`.
        """
        model = self.network.model
        make_room_for_biases(model)
        files = self.session.prepare(self.recipe, out, extent, learned=model.state())
        self.session.make(files)
        return Run(files.directory)


def trainable(session: Session, recipe: Recipe) -> OwnTraining:
    """The network that the last stage of a recipe would train, after the stages before it.

    Raises:
        RecipeError: the last stage trains no network.
    """
    recipe = located(recipe)
    stage = recipe.stages[-1]
    method = make(stage.method, stage.options)
    if not isinstance(method, NetworkTraining):
        known = ", ".join(e.name for e in METHODS if issubclass(e.make, NetworkTraining))
        raise RecipeError(f"method '{stage.method}' trains no network; choose one of: {known}")
    model, data = build(session, recipe), session.calibrating(recipe)
    size, taught = session.batch_size, teacher(session, recipe)
    task = Task(
        lambda: (inputs for inputs, _ in data.batches("calibration", size)),
        data.size("calibration"),
        recipe.seed,
        lessons=lambda: data.lessons(size),
        teacher=taught.graph if taught else None,
    )
    for before in recipe.stages[:-1]:
        for _ in make(before.method, before.options).learn(model, task):
            pass
    for _ in ensure_ranges(model, task):
        pass
    return OwnTraining(session, recipe, Trainable(model, method.plan(), task.teacher))
