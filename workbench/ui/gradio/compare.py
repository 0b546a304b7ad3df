"""The compare view: finished runs of a page side by side, nearest rounding first."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from workbench.foundation.errors import WorkbenchError
from workbench.session.comparing import compare
from workbench.session.recipe import Recipe
from workbench.session.runs import Run
from workbench.ui.gradio.settings import run_label
from workbench.ui.gradio.workspace import Workspace
from workbench.views import comparison, strings, study
from workbench.views.thumbnails import of_examples

log = logging.getLogger(__name__)

MOST = 8  # colours that can be told apart
SHOWN = 5  # runs that are compared before anyone has chosen
BASELINE = ""

View = dict[str, Any]


def view(workspace: Workspace) -> View:
    """The view-model of the whole section, with the part that is chosen."""
    runs = candidates(workspace)
    chosen = compared(workspace, runs)
    titles = strings.COMPARE_PARTS
    part = workspace.settings.compare_part
    part = part if part in titles else next(iter(titles))
    entries = [(key, title, "") for key, title in titles.items()]
    return study.section(entries, part, _body(workspace, part, runs, chosen))


def candidates(workspace: Workspace) -> dict[str, Run]:
    """Finished runs by name: nearest rounding first, as "", then the oldest to the newest."""
    baseline = workspace.baseline()
    found = {} if baseline is None or baseline.state != "done" else {BASELINE: baseline}
    done = (run for run in reversed(workspace.runs()) if run.state == "done")
    return {**found, **{run.name: run for run in done}}


def compared(workspace: Workspace, runs: Mapping[str, Run]) -> list[str]:
    """Names of the runs that are compared: as chosen, else the first and the newest."""
    names = list(runs)
    chosen = [name for name in names if name in workspace.settings.compared]
    return chosen[:MOST] or names[:1] + names[1:][-(SHOWN - 1) :]


def toggle(workspace: Workspace, name: str) -> None:
    """Put a run into the comparison, or take it out."""
    runs = candidates(workspace)
    if name not in runs:
        return
    with workspace.turn:
        now = compared(workspace, runs)
        kept = [one for one in now if one != name] if name in now else [*now, name]
        workspace.update(compared=tuple(kept))


def _body(
    workspace: Workspace, part: str, runs: Mapping[str, Run], chosen: list[str]
) -> study.Part:
    choices = _choices(runs, chosen)
    if len(chosen) < 2:
        few = strings.COMPARE_FEW if len(runs) < 2 else strings.COMPARE_CHOOSE
        return study.part(choices=choices, message=few)
    try:
        record = compare([runs[name] for name in chosen])
    except WorkbenchError as error:
        return study.part(str(error), tone="bad", choices=choices)
    found = _part(workspace, part, record, runs[chosen[0]].recipe)
    return {**found, "choices": choices}


def _part(workspace: Workspace, part: str, record: Mapping[str, Any], recipe: Recipe) -> study.Part:
    if part == "layers":
        return comparison.layers(record)
    if part == "predictions":
        return comparison.predictions(record, _pictures(workspace, record, recipe))
    return comparison.asked(record)


def _choices(runs: Mapping[str, Run], chosen: list[str]) -> list[Mapping[str, Any]]:
    found = []
    for name, run in runs.items():
        on = name in chosen
        place = chosen.index(name) if on else 0
        letter = f"{chr(ord('A') + place)} · " if on else ""
        words = letter + (strings.BASELINE_TITLE if name == BASELINE else run_label(run.recipe))
        found.append(study.choice(words, {"kind": "compared", "run": name}, on, place, run.name))
    return found


def _pictures(workspace: Workspace, record: Mapping[str, Any], recipe: Recipe) -> dict[int, str]:
    """Pictures of the examples that flipped, where the model's first input is one."""
    try:
        session = workspace.desk.session(workspace.settings)
    except WorkbenchError as error:
        log.info("no pictures of examples: %s", error)
        return {}
    return of_examples(session, recipe, comparison.flipped(record))
