"""The survey's maps beside the demos: what is looked at and asked goes straight to the server.

The browser calls this directly, so whatever comes in is checked like a stranger's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench.ui.gradio import lessons, opening
from workbench.ui.gradio.pictures import payload
from workbench.ui.gradio.recipe_form import Form
from workbench.ui.gradio.workspace import Desk, Workspace
from workbench.views import strings
from workbench.views import survey as views

View = dict[str, Any]


def view(workspace: Workspace) -> View:
    """The view-model; nothing while the lessons are not open."""
    return _drawn(workspace) if workspace.settings.view == "lessons" else {}


def server(desk: Desk) -> Callable[[Any], str | None]:
    """The function that the browser calls: a message goes in, the view-model comes out."""

    def survey(payload: Any) -> str | None:
        return answer(desk, payload)

    return survey


def answer(desk: Desk, message: object) -> str | None:
    """The maps after a message, as JSON text; None for what is no message.

    Args:
        desk: the server's store.
        message: JSON text with `key` and what `Visit.after` takes.
    """
    found = lessons.read(message)
    if found is None:
        return None
    workspace = desk.workspace(found.get("key"))
    with workspace.turn:
        workspace.update(survey=workspace.settings.survey.after(found))
    return payload(_drawn(workspace))


def use(workspace: Workspace, part: str) -> str:
    """Open a recipe of the maps on its sample; says so.

    Args:
        part: "adviser", or "opened" for what was opened from a cell.

    Raises:
        WorkbenchError: nothing was opened, or the sample cannot be.
    """
    recipe, sample = workspace.settings.survey.recipe(part)
    opening.choose(workspace, sample)
    workspace.update(form=Form.of(recipe), view="layers")
    return strings.SURVEY_USED.format(sample=sample)


def _drawn(workspace: Workspace) -> View:
    at = workspace.changed_at  # before the settings are read: what is drawn is no older
    found = views.survey(workspace.settings.survey, strings.SURVEY_USE)
    return {**found, "key": workspace.key, "at": at}
