"""The export view: where the file runs, whether it does there what was simulated, how fast.

The parts are records of the engine; long measurements are studies in their own processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.deploy.cures import REMEDIES, apply_cure
from workbench.deploy.processor import processor
from workbench.foundation.errors import ExportError, RunError, WorkbenchError
from workbench.session.studies import Kind
from workbench.ui.gradio.settings import run_label
from workbench.ui.gradio.workspace import Workspace
from workbench.views import coverage, differences, machine, speed, strings, study

View = dict[str, Any]

STUDIES: dict[str, Kind] = {"verification": "prices", "speed": "times", "machine": "machine"}


def view(workspace: Workspace) -> View:
    """The view-model of the whole section, with the part that is chosen."""
    found = {
        "coverage": _coverage(workspace),
        "verification": _verification(workspace),
        "speed": _speed(workspace),
        "machine": _machine(workspace),
    }
    chosen = workspace.settings.part
    chosen = chosen if chosen in found else "coverage"
    titles = strings.EXPORT_PARTS
    entries = [(key, titles[key], status) for key, (status, _) in found.items()]
    return study.section(entries, chosen, _measured(workspace, chosen, found[chosen][1]))


def waiting(workspace: Workspace, text: str) -> View:
    """The section while something is done that takes a moment."""
    seen = view(workspace)
    progress = {"text": text, "fraction": 0.5}
    return {**seen, "body": {**seen["body"], "progress": progress, "actions": []}}


def opening() -> View:
    """Before the model was looked at."""
    titles = strings.EXPORT_PARTS
    body = study.part(message="Reading the model…")
    entries = [(key, title, "…") for key, title in titles.items()]
    return {**study.section(entries, "coverage", body), "waiting": True}


def token(workspace: Workspace) -> str:
    """Changes when a study begins or ends."""
    if not workspace.settings.exporting:
        return ""
    states = [_state(workspace, kind) for kind in STUDIES.values()]
    return f"{workspace.settings.part}:{','.join(states)}"


def busy(workspace: Workspace) -> bool:
    """True while a study is being made."""
    return any(_state(workspace, kind) == "running" for kind in STUDIES.values())


def measure(workspace: Workspace, kind: object) -> None:
    """Start a study.

    Raises:
        RunError: no finished run is on screen, or too much is going on.
    """
    found = next((workspace.study(name) for name in STUDIES.values() if kind == name), None)
    if found is None:
        raise RunError(strings.NO_RUN)
    workspace.desk.start_study(found)


def cure(workspace: Workspace, name: str) -> Path:
    """Write the file of the run on screen, cured in the way whose price was measured.

    Raises:
        ExportError: the cure is unknown, was not measured, or writes no file.
    """
    run = workspace.shown()
    prices = workspace.study("prices")
    record = prices.record() if prices is not None else None
    cures = {each["name"]: each for each in (record or {}).get("cures", ())}
    if run is None or name not in cures or name not in REMEDIES or not cures[name]["layers"]:
        raise ExportError(f"'{name[:40]}' writes no file here; measure the cures first")
    out = run.directory / "studies" / f"{name}.onnx"
    return apply_cure(run.files.model, name, cures[name]["layers"], out).path


def cured(workspace: Workspace) -> Path | None:
    """The file that was cured last, of the run on screen."""
    run = workspace.shown()
    found = [] if run is None else list((run.directory / "studies").glob("*.onnx"))
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def _coverage(workspace: Workspace) -> tuple[str, View]:
    settings = workspace.settings
    try:
        recipe = settings.form.recipe()
        record = workspace.desk.coverage(settings, recipe)
    except WorkbenchError as error:
        return "not possible", study.part(message=str(error))
    return coverage.status(record), coverage.part(record, run_label(recipe))


def _verification(workspace: Workspace) -> tuple[str, View]:
    run = workspace.shown()
    if run is None:
        return strings.ANALYSING_SHORT, study.part(message=strings.NO_RUN)
    prices = workspace.study("prices")
    measured = None if prices is None else prices.record()
    record = measured or workspace.desk.report(run).get("verification")
    return differences.status(record), differences.part(record)


def _speed(workspace: Workspace) -> tuple[str, View]:
    if workspace.shown() is None:
        return strings.ANALYSING_SHORT, study.part(message=strings.NO_RUN)
    times = workspace.study("times")
    record = None if times is None else times.record()
    return speed.status(record), speed.part(record)


def _machine(workspace: Workspace) -> tuple[str, View]:
    facts, record = processor(), workspace.desk.machine.record()
    return machine.status(facts.vnni, record), machine.part(facts.record(), facts.vnni, record)


def _measured(workspace: Workspace, part: str, body: Mapping[str, Any]) -> View:
    """The part, with the progress of its study."""
    found = workspace.study(STUDIES[part]) if part in STUDIES else None
    if found is None:
        return dict(body)
    return study.with_progress(body, found.state, found.step(), found.message)


def _state(workspace: Workspace, kind: Kind) -> str:
    found = workspace.study(kind)
    return "none" if found is None else found.state
