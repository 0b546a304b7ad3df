"""The teacher that a recipe names: another float model with the same inputs and the same answers.

Distillation from a bigger network, where the float model itself would be the teacher otherwise. A
run remembers its sha256 and is not resumed under another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from workbench.foundation.errors import ModelError, RecipeError, RunError
from workbench.graph import Graph
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import METHODS
from workbench.session.data_free import some
from workbench.session.recipe import Recipe

if TYPE_CHECKING:
    from workbench.session.session import Session


@dataclass(frozen=True)
class Teacher:
    """A teacher that fits.

    Attributes:
        graph: of the float network.
        sha256: of the model.
    """

    graph: Graph
    sha256: str


def located(recipe: Recipe) -> Recipe:
    """The recipe with the whole path of its teacher's file, so that it is found from anywhere."""
    path = Path(recipe.teacher).expanduser()
    if not recipe.teacher or not path.is_file():
        return recipe
    return recipe.changed(teacher=str(path.resolve()))


def unlocated(recipe: Recipe) -> Recipe:
    """The recipe with the name of its teacher's file alone, for files that go to others."""
    return recipe.changed(teacher=Path(recipe.teacher).name) if recipe.teacher else recipe


def teacher(session: Session, recipe: Recipe, sha256: str = "") -> Teacher | None:
    """The teacher of a recipe; None if it is the float model itself.

    Args:
        session, recipe: whose network learns, and how.
        sha256: what the teacher was when the run began, if it has begun.

    Raises:
        RecipeError: no stage trains the network, so that a teacher would be of no use.
        ModelError: it cannot be opened, or does not answer the same question.
        RunError: it has changed since the run began.
    """
    if not recipe.teacher:
        return None
    _require_training(recipe)
    from workbench.session.session import open as open_model

    found = open_model(recipe.teacher)
    if sha256 and found.sha256 != sha256:
        raise RunError(
            f"the teacher '{recipe.teacher}' has changed since the run began; put it back, or start"
            " a new run"
        )
    _require_same_question(session, found, recipe.teacher)
    return Teacher(found.graph, found.sha256)


def _require_training(recipe: Recipe) -> None:
    names = [stage.method for stage in recipe.stages]
    if not any(issubclass(METHODS[name].make, NetworkTraining) for name in names):
        raise RecipeError(
            f"teacher was '{recipe.teacher}', and none of the stages ({', '.join(names)})"
            " trains the network; add one that does, such as kd, or leave the teacher out"
        )


@torch.no_grad()
def _require_same_question(session: Session, other: Session, name: str) -> None:
    """The same inputs go in, and logits of the same shape come out."""
    inputs = some(session)
    own = session.graph.module(*inputs)[0]
    try:
        theirs = other.graph.module(*inputs)[0]
    except (RuntimeError, TypeError, ValueError, StopIteration) as error:
        takes = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in other.graph.inputs)
        raise ModelError(
            f"the teacher '{name}' does not take the inputs of '{session.name}' (it takes {takes});"
            " give a model with the same inputs"
        ) from error
    if own.shape != theirs.shape:
        raise ModelError(
            f"the teacher '{name}' answers with shape {list(theirs.shape)}, and '{session.name}'"
            f" with {list(own.shape)}; give a model with the same classes"
        )
