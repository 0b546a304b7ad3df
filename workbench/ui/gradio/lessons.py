"""The lessons view: what is done in a demo goes straight to the server, past the queue.

The browser calls this directly, so whatever comes in is checked like a stranger's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from workbench.ui.gradio.pictures import payload
from workbench.ui.gradio.workspace import Desk, Workspace
from workbench.views import lesson

View = dict[str, Any]
_LONGEST = 4096


def view(workspace: Workspace) -> View:
    """The view-model; nothing while that view is not open."""
    return _drawn(workspace) if workspace.settings.view == "lessons" else {}


def server(desk: Desk) -> Callable[[Any], str | None]:
    """The function that the browser calls: a message goes in, the view-model comes out."""

    def lesson(payload: Any) -> str | None:
        return answer(desk, payload)

    return lesson


def answer(desk: Desk, message: object) -> str | None:
    """The lesson after a message, as JSON text; None for what is no message.

    Args:
        desk: the server's store.
        message: JSON text with `key` and what `Sitting.after` takes.
    """
    found = read(message)
    if found is None:
        return None
    workspace = desk.workspace(found.get("key"))
    with workspace.turn:
        workspace.update(lesson=workspace.settings.lesson.after(found))
    return payload(_drawn(workspace))


def _drawn(workspace: Workspace) -> View:
    at = workspace.changed_at  # before the settings are read: what is drawn is no older
    return {**lesson.view(workspace.settings.lesson), "key": workspace.key, "at": at}


def read(message: object) -> View | None:
    """A message of the browser; None where it is none."""
    if not isinstance(message, str) or len(message) > _LONGEST:
        return None
    try:
        found = json.loads(message)
    except (ValueError, RecursionError):
        return None
    key = found.get("key") if isinstance(found, dict) else 0
    return found if key is None or isinstance(key, str) else None
