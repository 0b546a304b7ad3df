"""Where one looks: the model, a layer, a channel, a weight; and how the layers are shown.

Messages come from the browser, so each value is checked like a stranger's; what a model does not
have is not chosen.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from workbench.foundation.errors import WorkbenchError
from workbench.ui.gradio import cures, links
from workbench.ui.gradio.workspace import Workspace
from workbench.views import drawing
from workbench.views import levels as view

log = logging.getLogger(__name__)

Message = Mapping[str, Any]
View = dict[str, Any]

KINDS = ("measure", "layer", "channel", "weight", "whole", "form", "fold")
_LOOKS = ("measure", "layer", "form")
_LONGEST = 4096  # letters of a name
_MOST = 1000  # blocks that are kept open or closed


def move(workspace: Workspace, message: Message) -> bool:
    """Choose what a message of one of `KINDS` says; True where the layers are drawn anew."""
    kind = message.get("kind")
    if kind in _LOOKS:
        return _look(workspace, message)
    if kind == "channel":
        workspace.update(channel=_index(message.get("channel")), weight=None, whole=False)
        return False
    if kind == "weight":
        workspace.update(weight=_index(message.get("weight")), whole=False)
        return False
    if kind == "whole":
        workspace.update(whole=True, channel=None, weight=None)
        return False
    if kind == "fold":
        _fold(workspace, message)
    return True


def graph(workspace: Workspace) -> View | None:
    """The drawing of the network; None where it is not shown, or cannot be made."""
    settings = workspace.settings
    if settings.layers_as != "graph":
        return None
    try:
        return drawing.drawing(workspace.desk.outline(settings), settings.toggled)
    except WorkbenchError as error:
        log.warning("%s", error)
        return None


def crumbs(workspace: Workspace, layer: str, channel: Message | None) -> list[View]:
    """The breadcrumb: every level above the one on screen is a link."""
    index = None if channel is None else channel["index"]
    weight = None if channel is None else channel.get("weight")
    shown = (None, None, None) if workspace.settings.whole else (layer, index, weight)
    title = workspace.settings.title
    return view.levels(title, *shown, lambda place: links.link(workspace, place), summary=True)


def reveal(workspace: Workspace) -> bool:
    """Open the blocks of the graph that hide the selected layer; True if there were any."""
    settings = workspace.settings
    if settings.layers_as != "graph" or not settings.layer:
        return False
    try:
        outline = workspace.desk.outline(settings)
    except WorkbenchError:
        return False
    hidden = drawing.around(outline, settings.layer, settings.toggled)
    _toggle(workspace, hidden)
    return bool(hidden)


def _look(workspace: Workspace, message: Message) -> bool:
    """Take over the layer, the form and the measure: a message tells all that it knows of them.

    The page gives up a message that waits when the next one comes, so the last must say what the
    ones before it said.
    """
    kind, before = message["kind"], workspace.settings
    if isinstance(message.get("measure"), str):
        workspace.update(measure=_text(message["measure"]))
    if "form" in message:
        workspace.update(layers_as="graph" if message["form"] == "graph" else "table")
    name = _text(message.get("layer"))
    if kind == "layer" or (name and name != before.layer):
        workspace.update(layer=name, channel=None, weight=None, whole=False)
        cures.want(workspace, name)
    revealed = reveal(workspace)
    after = workspace.settings
    same = (after.measure, after.layers_as) == (before.measure, before.layers_as)
    return kind != "layer" or revealed or not same


def _fold(workspace: Workspace, message: Message) -> None:
    """Open or close one block; without a name, all of them."""
    name = message.get("block")
    if name is not None:
        _toggle(workspace, [_text(name)])
        return
    try:
        outline = workspace.desk.outline(workspace.settings)
    except WorkbenchError:
        return
    found = drawing.everything(outline, message.get("open") is True)
    workspace.update(toggled=tuple(found[:_MOST]))


def _toggle(workspace: Workspace, names: list[str]) -> None:
    toggled = drawing.toggle(workspace.settings.toggled, names)
    workspace.update(toggled=toggled[-_MOST:])


def _text(value: object) -> str:
    return value[:_LONGEST] if isinstance(value, str) else ""


def _index(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**31:
        return None
    return int(value)
