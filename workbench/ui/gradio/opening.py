"""The page where work begins: a model is opened with its data, or without, and is analysed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.foundation.errors import DataError, RunError, WorkbenchError
from workbench.graph.sites import layers as layers_of
from workbench.session import zoo
from workbench.session.data import Data
from workbench.session.data_free import fitting
from workbench.session.known import Known
from workbench.session.restored import RestoredSession
from workbench.session.session import Session
from workbench.synthesis.registry import MAKERS
from workbench.ui.gradio import compare
from workbench.ui.gradio.settings import TOP
from workbench.ui.gradio.workspace import Workspace
from workbench.views import opening, strings

View = dict[str, Any]

LEARNED = "gram"


def view(workspace: Workspace, waiting: str = "") -> View:
    """The cards; nothing while the page is not open."""
    if workspace.settings.view != "open":
        return {}
    models = [_model(known) for known in zoo.known().values()]
    return opening.cards(models, workspace.settings.model, waiting)


def loaded(workspace: Workspace) -> View:
    """What is on screen now; nothing while the page is not open."""
    if workspace.settings.view != "open":
        return {}
    try:
        session = workspace.desk.session(workspace.settings)
    except WorkbenchError as error:
        return opening.loaded({"problem": str(error)}, {})
    return opening.loaded(_opened(session), _data(session))


def choose(workspace: Workspace, name: object) -> str:
    """Open a model by its name; says what it means where that brings no data.

    Raises:
        WorkbenchError: it is unknown, or its packages are missing.
    """
    known = zoo.find(str(name)[:80])
    known.path()  # exported now where it never was, so that what is missing is said
    changes = {"model": known.name, "title": known.name, "data": None}
    workspace.update(**changes, run="", **TOP)
    return settle(workspace)


def take_model(workspace: Workspace, uploaded: Path) -> str:
    """Open an uploaded model; says what it means where there are no data.

    Raises:
        WorkbenchError: it is no model that can be used.
    """
    said = workspace.open_model(uploaded)
    return settle(workspace) or said


def take_data(workspace: Workspace, uploaded: Path) -> str:
    """Take uploaded data for the model on screen; says what they are.

    Raises:
        WorkbenchError: they do not fit the model.
    """
    said = workspace.open_data(uploaded)
    settle(workspace)
    found = _data(workspace.desk.session(workspace.settings))
    words = strings.OPENED_DATA.format(**found | {"labels": strings.OPEN_LABELLED[found["labels"]]})
    return said or words


def to_layers(workspace: Workspace, said: str) -> str:
    """Go where what was opened is seen; hands on what was said."""
    workspace.update(view="layers")
    return said


def drop_data(workspace: Workspace) -> str:
    """Take the uploaded data away: the model's own serve again, or none."""
    workspace.update(data=None, run="", **TOP)
    return settle(workspace)


def settle(workspace: Workspace) -> str:
    """Let the form calibrate on made examples exactly where there are no others; says so."""
    settings = workspace.settings
    session = workspace.desk.session(settings)
    if session.has_data or isinstance(session, RestoredSession):
        if settings.data_free:
            workspace.update(form=replace(settings.form, synthetic="", making={}), data_free=False)
        return ""
    if not settings.form.synthetic or settings.data_free:
        try:
            maker = fitting(session)
        except DataError as error:
            raise DataError(strings.OPEN_NO_INPUTS.format(problem=error)) from None
        workspace.update(form=replace(settings.form, synthetic=maker, making={}), data_free=True)
    return strings.OPENED_DATA_FREE.format(name=settings.title)


def waiting(workspace: Workspace, name: object) -> View:
    """The cards while one of them is being opened."""
    known = zoo.known().get(str(name))
    made = known is not None and known.data is None
    words = strings.OPEN_OPENING_MADE if made else strings.OPEN_OPENING
    return view(workspace, words.format(name=str(name)[:80]))


def reading(workspace: Workspace, path: Path) -> View:
    """The cards while a file is being read."""
    return view(workspace, strings.OPEN_READING.format(name=path.name[:80]))


# --- things to try --------------------------------------------------------------------------------


def tries(workspace: Workspace) -> View:
    """What a first visit proposes; nothing once it was dismissed."""
    settings = workspace.settings
    if not workspace.key or not settings.guided:
        return {}
    working = workspace.at_work() is not None
    ready = {
        "break": not working,
        "learn": not working,
        "compare": len(compare.candidates(workspace)) > 1,
    }
    last = settings.tried[-1] if settings.tried else ""
    states = {
        name: "running"
        if working and name == last
        else "done"
        if name in settings.tried
        else "open"
        if ready[name]
        else "blocked"
        for name in strings.TRIES
    }
    return opening.tries([{"name": name, "state": state} for name, state in states.items()])


def attempt(workspace: Workspace, name: object) -> None:
    """Do what a proposal says.

    Raises:
        WorkbenchError: it is not possible now.
    """
    actions: dict[str, Callable[[], object]] = {
        "break": lambda: _run(workspace, 2, "rtn"),
        "learn": lambda: _run(workspace, 3, LEARNED),
        "compare": lambda: _compare(workspace),
    }
    if name not in actions:
        raise RunError(f"'{str(name)[:40]}' is none of the proposals; choose one of them")
    actions[str(name)]()
    tried = [one for one in workspace.settings.tried if one != name]
    workspace.update(tried=(*tried, str(name)))


def _run(workspace: Workspace, bits: int, method: str) -> None:
    form = replace(workspace.settings.form, weights=bits, method=method, options={})
    workspace.update(form=form, view="layers", **TOP)
    workspace.start()


def _compare(workspace: Workspace) -> None:
    if len(compare.candidates(workspace)) < 2:
        raise RunError(strings.COMPARE_FEW)
    workspace.update(view="compare", compare_part=next(iter(strings.COMPARE_PARTS)), compared=())


# --- what is known --------------------------------------------------------------------------------


def _model(known: Known) -> View:
    own = known.data is not None
    return {
        "name": known.name,
        "title": known.title,
        "card": known.card,
        "own_data": own,
        "absent": known.absent,
    }


def _opened(session: Session) -> View:
    origin = session.origin
    named = zoo.known().get(origin.value) if origin.kind == "sample" else None
    whose = strings.OPEN_FROM_FILE
    if named is not None:
        whose = strings.OPEN_FROM_NAME[named.data is not None]
    inputs = [
        {
            "name": spec.name,
            "shape": [str(dim or "?") for dim in spec.shape],
            "type": str(spec.dtype).removeprefix("torch."),
        }
        for spec in session.graph.inputs
    ]
    return {
        "name": session.name,
        "from": whose,
        "inputs": inputs,
        "layers": len(layers_of(session.graph)),
        "parameters": sum(p.numel() for p in session.model.parameters()),
    }


def _data(session: Session) -> View:
    if not session.has_data:
        return _no_data(session)
    try:
        data = session.data
    except WorkbenchError as error:
        return {"problem": str(error)}
    known = zoo.known().get(session.origin.value) if session.origin.kind == "sample" else None
    return {
        "kind": "own" if session.given is None else "given",
        "name": data.name,
        "about": str(session.card.get("data", "")),
        "calibration": data.size("calibration"),
        "test": data.size("test"),
        "labels": _labels(data),
        "replaces": known is not None and known.data is not None,
    }


def _no_data(session: Session) -> View:
    try:
        maker = MAKERS[fitting(session)].title
    except DataError as error:
        return {"problem": strings.OPEN_NO_INPUTS.format(problem=error)}
    return {"kind": "none", "maker": maker}


def _labels(data: Data) -> str:
    """What the examples say is right: a word of `strings.OPEN_LABELLED`."""
    found = {"classify": "classes", "bytes": "following", "tokens": "following", "pairs": "pairs"}
    return found.get(data.task, "none")
