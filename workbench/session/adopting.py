"""An exported file as a run: its quantizers are taken over, and everything is measured again.

The run's learning counts as done: the state is the file's. What follows, export, scores, layers and
verification, is made anew, so that nothing on screen is a claim of the file.
"""

from __future__ import annotations

from pathlib import Path

from workbench.deploy import metadata as meta
from workbench.foundation.errors import ModelError
from workbench.session.execute import Extent, build
from workbench.session.recipe import Recipe
from workbench.session.restored import SAMPLE, RestoredSession
from workbench.session.session import Session
from workbench.session.store import RunFiles


def made_from(file: RestoredSession, session: Session) -> bool:
    """Whether `file` was exported from the model of `session`."""
    return file.restored.metadata.get(meta.SOURCE) == session.sha256


def original_of(file: RestoredSession) -> str | None:
    """The name of the known model that `file` was made from, if it says one that is at hand."""
    return file.restored.metadata.get(SAMPLE) if file.has_original else None


def recipe_of(file: RestoredSession) -> Recipe:
    """The recipe that the file was made by.

    Raises:
        ModelError: it holds none.
    """
    if file.made_by is None:
        raise ModelError(f"'{file.path.name}' does not hold its recipe; start a run of its model")
    return file.made_by


def adopt(
    file: RestoredSession,
    session: Session,
    directory: str | Path | None = None,
    extent: Extent | None = None,
) -> RunFiles:
    """Prepare a run of `session` that begins with the file's quantizers and learns no more.

    Args:
        file: an exported file.
        session: its float model with data, or `file` itself.
        directory, extent: as for `Session.prepare`.

    Raises:
        ModelError: the file holds no recipe, or other quantizers than the recipe leads to here, or
            transformations came before it and the float model is not at hand.
        DataError: the session has no data.
    """
    recipe = recipe_of(file).changed(teacher="")  # nothing is learned any more
    if recipe.transforms and session is file and not file.has_original:
        raise ModelError(
            f"'{file.path.name}' was made after {', '.join(recipe.transforms)}; open its float"
            " model first, then this file"
        )
    model = file.restored.fill(build(session, recipe, file.measured))
    for name, site in model.sites.items():
        if site.kind == "bias":  # a state has no bias quantizers: they follow from these values
            model.parameter(site.tensor).data.copy_(file.restored.frozen[name].values())
    return session.prepare(recipe, directory, extent, file.measured, learned=model.state())
