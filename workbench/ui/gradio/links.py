"""Deep links: the address of what is on screen, and the way back from an address.

    ?model=digits-mobilenet&run=...&layer=stem&channel=3&weight=17

An address may come from anybody. A model is a known name, the one that the server was started with,
or an upload of this page; a run is one of this page; everything else has to be there too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from workbench.foundation.errors import WorkbenchError
from workbench.session import zoo
from workbench.session.runs import Run
from workbench.ui.gradio.workspace import Workspace, data_of
from workbench.views import strings

KEYS = ("model", "run", "layer", "channel", "weight")
_LONGEST = 4096
_NUMBER = re.compile(r"\d{1,9}")
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,254}")


def link(workspace: Workspace, place: Mapping[str, Any]) -> str:
    """The query that leads to a `layer`, `channel` and `weight` of the run on screen, with its "?".

    Without a layer it leads to the summary of the model.
    """
    parts = {"model": _name(workspace), "run": workspace.settings.run, **place}
    return "?" + urlencode({k: v for k, v in parts.items() if k in KEYS and v not in (None, "")})


def follow(workspace: Workspace, query: Mapping[str, str]) -> str:
    """Go where a query leads, as far as it does; one sentence on what is not here, if anything."""
    wanted = {key: str(query[key]) for key in KEYS if query.get(key)}
    if "model" not in wanted or any(len(value) > _LONGEST for value in wanted.values()):
        return ""
    found = _model(workspace, wanted["model"])
    if found is None:
        return strings.LINK_MODEL
    notice = _open(workspace, found, wanted.get("run", ""))
    layer, channel, weight = (wanted.get(key) for key in ("layer", "channel", "weight"))
    numbers = {"channel": _number(channel), "weight": _number(weight) if channel else None}
    workspace.update(layer=layer or workspace.settings.layer, whole=layer is None, **numbers)
    return notice


def _open(workspace: Workspace, found: tuple[str, str, str | None], name: str) -> str:
    """Show a model and a run of it."""
    model, title, data = found
    run = _run(workspace, name, model)
    data = data if run is None else data_of(run)
    settings = workspace.settings
    if (settings.model, settings.data) != (model, data):
        workspace.update(model=model, title=title, data=data, layer=None)
    workspace.update(run="" if run is None else run.name)
    return strings.LINK_RUN if name and run is None else ""


def _name(workspace: Workspace) -> str:
    """A model as an address names it: never a path of the server."""
    settings, uploads = workspace.settings, workspace.directory / "uploads"
    path = Path(settings.model)
    return str(path.relative_to(uploads)) if path.is_relative_to(uploads) else settings.title


def _model(workspace: Workspace, name: str) -> tuple[str, str, str | None] | None:
    """(model, title, data) of a name; None where this page has none such."""
    settings, first = workspace.settings, workspace.desk.first
    if name == _name(workspace):
        return settings.model, settings.title, settings.data
    if name == first.title:
        return first.model, first.title, first.data
    if name in zoo.known():
        return name, name, None
    uploads = (workspace.directory / "uploads").resolve()
    kept = uploads / name
    inside = kept.resolve().is_relative_to(uploads) and kept.suffix == ".onnx" and kept.is_file()
    return (str(workspace.directory / "uploads" / name), kept.stem, None) if inside else None


def _run(workspace: Workspace, name: str, model: str) -> Run | None:
    if not _RUN.fullmatch(name):
        return None
    try:
        run = Run(workspace.directory / "runs" / name)
        return run if run.about["source"]["value"] == model else None
    except WorkbenchError:
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None
