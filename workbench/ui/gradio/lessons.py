"""The lessons view: what is done in a demo goes straight to the server, past the queue.

The browser calls this directly, so whatever comes in is checked like a stranger's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.ui.gradio.pictures import payload, received
from workbench.ui.gradio.workspace import Desk, Workspace
from workbench.views import lesson

View = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A part of the lessons view that is drawn from one of a page's settings, and changes it.

    Attributes:
        setting: its name; its value gives the next one by `after(message)`.
        draw: the view-model of a value.
    """

    setting: str
    draw: Callable[[Any], View]

    def view(self, workspace: Workspace) -> View:
        """The view-model; nothing while the lessons are not open."""
        return self._drawn(workspace) if workspace.settings.view == "lessons" else {}

    def server(self, desk: Desk) -> Callable[[Any], str | None]:
        """The function that the browser calls: a message goes in, the view-model comes out."""

        def ask(payload: Any) -> str | None:
            return self.answer(desk, payload)

        ask.__name__ = self.setting
        return ask

    def answer(self, desk: Desk, message: object) -> str | None:
        """The view-model after a message, as JSON text; None for what is no message.

        Args:
            desk: the server's store.
            message: JSON text with `key` and what `after` takes.
        """
        found = received(message)
        key = found.get("key") if found is not None else 0
        if found is None or not (key is None or isinstance(key, str)):
            return None
        workspace = desk.workspace(key)
        with workspace.turn:
            before = getattr(workspace.settings, self.setting)
            workspace.update(**{self.setting: before.after(found)})
        return payload(self._drawn(workspace))

    def _drawn(self, workspace: Workspace) -> View:
        at = workspace.changed_at  # before the settings are read: what is drawn is no older
        found = self.draw(getattr(workspace.settings, self.setting))
        return {**found, "key": workspace.key, "at": at}


DEMOS = Asked("lesson", lesson.view)
view, server, answer = DEMOS.view, DEMOS.server, DEMOS.answer
