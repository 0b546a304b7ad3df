"""The survey's maps beside the demos, and what is opened from them."""

from __future__ import annotations

from typing import Any

from workbench.lessons.survey import Visit
from workbench.ui.gradio import opening
from workbench.ui.gradio.lessons import Asked
from workbench.ui.gradio.recipe_form import Form
from workbench.ui.gradio.workspace import Workspace
from workbench.views import strings
from workbench.views import survey as views


def _drawn(visit: Visit) -> dict[str, Any]:
    return views.survey(visit, strings.SURVEY_USE)


MAPS = Asked("survey", _drawn)
view, server, answer = MAPS.view, MAPS.server, MAPS.answer


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
