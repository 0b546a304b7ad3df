"""Why the chosen layer suffers, and cures that are tried: records and studies of the engine, wired.

Causes lie beside the run, so whoever looks at the same baseline finds them. A cure lies in the
page's own folder, like its runs; the browser's settings only name it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.foundation.errors import RunError, WorkbenchError
from workbench.session.remedies import Asked, Remedy, proposal_of
from workbench.session.runs import Run, remove, run_name
from workbench.session.store import RunFiles
from workbench.session.studies import Kind, Study
from workbench.session.whys import Whys
from workbench.ui.gradio.recipe_form import Form
from workbench.ui.gradio.workspace import Workspace
from workbench.views import causes, layers, strings, study, trial

View = dict[str, Any]
log = logging.getLogger(__name__)

#: multiplications of a model whose causes are looked for without being asked
CHEAP = 100e6
#: studies that change what is known about layers
LOOKING: tuple[Kind, ...] = ("causes", "errors")


def view(
    workspace: Workspace, run: Run | None, report: Mapping[str, Any], layer: str | None
) -> View:
    """The view-model of the causes of `layer`, with the cure that was asked for last."""
    if run is None or layer is None:
        return causes.panel(None, None, message=strings.WHY_WAITING)
    seen = _panel(workspace, run, report, layer)
    return {**seen, "trial": _trial(workspace, layer), "auto": _automatic(workspace, run, report)}


def settle(workspace: Workspace) -> bool:
    """Show a cured run, and its recipe in the form, once it is made; True when that happens."""
    run = _waiting(workspace)
    if run is None:
        return False
    workspace.update(run=run.name, form=Form.of(run.recipe), channel=None, adopted=True)
    return True


def due(workspace: Workspace) -> bool:
    """True when `settle` has something to show."""
    return _waiting(workspace) is not None


def ensure(workspace: Workspace) -> None:
    """Have the causes of the run on screen looked for where that is a matter of seconds."""
    run = workspace.shown()
    if run is not None and _cheap(workspace.desk.report(run)):
        workspace.desk.start_looking(Study(run.directory, "causes"))


def token(workspace: Workspace) -> str:
    """Changes when more than the panel of causes has to be drawn."""
    run, remedy = workspace.shown(), _remedy(workspace)
    parts: list[str] = [workspace.settings.cure]
    if remedy is not None:
        parts.append(remedy.study.state)
    if run is not None:
        parts += [Study(run.directory, kind).state for kind in LOOKING]
        parts.append(str(Whys(run.directory).damages.exists()))
    return ":".join(parts)


def busy(workspace: Workspace) -> bool:
    """True while causes are looked for, or a cure is tried."""
    if active(workspace) or _waiting(workspace) is not None:
        return True
    run = workspace.shown()
    if run is None:
        return False
    state = Study(run.directory, "causes").state
    waits = state == "none" and _cheap(workspace.desk.report(run))
    return waits or state == "running" or measuring(workspace)


def active(workspace: Workspace) -> bool:
    """True while a cure of this page is being tried."""
    remedy = _remedy(workspace)
    return remedy is not None and remedy.study.state == "running"


def want(workspace: Workspace, layer: str) -> None:
    """Someone looks at a layer: if its causes are on their way, they come next."""
    run = workspace.shown()
    if run is None or Study(run.directory, "causes").state != "running":
        return
    if layer not in workspace.desk.causes(run):
        Whys(run.directory).want(layer)


def look(workspace: Workspace, layer: str) -> None:
    """Look for the causes of a layer.

    Raises:
        RunError: no finished run is on screen, or too much is going on.
    """
    run = _shown(workspace)
    Whys(run.directory).want(layer)
    workspace.desk.start_study(Study(run.directory, "causes"))


def measure(workspace: Workspace) -> None:
    """Measure the damage of each layer, which was estimated.

    Raises:
        RunError: no finished run is on screen, or too much is going on.
    """
    workspace.desk.start_study(Study(_shown(workspace).directory, "errors"))


def apply(workspace: Workspace, layer: str, number: int) -> None:
    """Try a cure of a layer.

    Raises:
        WorkbenchError: it is not known, or too much is going on.
    """
    run = _shown(workspace)
    found = workspace.desk.causes(run).get(layer)
    if found is None:
        raise RunError(strings.NO_SUCH_CURE)
    words = proposal_of(run.recipe, found, number).cure.words
    _start(workspace, run, layer=layer, number=number, words=words)
    workspace.update(layer=layer)  # it stays on screen, whichever hurts most afterwards


def automatic(workspace: Workspace, within: float | None, budget: int | None) -> None:
    """Cure what hurts most until the score is near enough to float.

    Raises:
        WorkbenchError: too much is going on.
    """
    _start(workspace, _shown(workspace), within=within, budget=budget)


def stop(workspace: Workspace) -> None:
    """End the cure; a run that it had begun to make goes too."""
    remedy = _remedy(workspace)
    if remedy is None:
        return
    remedy.study.stop()
    begun = workspace.find(Path(remedy.asked.out).name)
    if begun is not None and begun.state != "done":
        remove(begun)
    workspace.update(cure="", adopted=False)


def dismiss(workspace: Workspace) -> None:
    """Its outcome was seen."""
    if not active(workspace):
        workspace.update(cure="", adopted=False)


def back(workspace: Workspace) -> None:
    """Show the run before the cure, and its recipe."""
    remedy = _remedy(workspace)
    if remedy is None or active(workspace):
        return
    before = Run(remedy.asked.run)
    name = before.name if workspace.find(before.name) is not None else ""
    workspace.update(run=name, form=Form.of(before.recipe), channel=None, cure="", adopted=False)


def measuring(workspace: Workspace) -> bool:
    """True while the damage of each layer is being measured."""
    run = workspace.shown()
    return run is not None and Study(run.directory, "errors").state == "running"


def table_extras(run: Run | None) -> View:
    """What the table of layers says about damage and gain that are only estimated."""
    if run is None:
        return {}
    exact = Study(run.directory, "errors")
    if exact.state == "running":
        return {"progress": _progress(exact)}
    if exact.state == "done":
        return {}
    label, tip = strings.MEASURE_EXACTLY, exact.message or strings.MEASURE_EXACTLY_HELP
    return {"action": study.action(label, {"kind": "errors"}, tip)}


def _panel(workspace: Workspace, run: Run, report: Mapping[str, Any], layer: str) -> View:
    found, unit = workspace.desk.causes(run).get(layer), _unit(workspace.desk.damage(run))
    order = sorted(report.get("layers") or (), key=lambda each: -(each.get("damage_kl") or 0.0))
    own = next(each for each in order if each["layer"] == layer)
    if found is not None:
        place = (order.index(own) + 1, len(order))
        return causes.panel(layer, found, place=place, unit=unit, busy=active(workspace))
    if not (own.get("bits_weights") or own.get("bits_activations")):
        return causes.panel(layer, None, message=strings.WHY_FLOAT)
    looking = Study(run.directory, "causes")
    if looking.state == "running":
        return causes.waiting(layer, strings.LOOKING, looking.step())
    if looking.state == "failed":
        return causes.unknown(layer, looking.message)
    if looking.state == "none" and _cheap(report):
        return causes.waiting(layer, strings.WHY_BUSY)
    return causes.unknown(layer)


def _trial(workspace: Workspace, layer: str) -> View | None:
    remedy = _remedy(workspace)
    if remedy is None:
        return None
    asked, found = remedy.asked, remedy.study
    out = RunFiles(workspace.directory / "runs" / Path(asked.out).name)
    before = Run(asked.run)
    making = out.read_progress() if out.run.exists() else None
    job = {"state": found.state, "step": found.step(), "problem": found.message, "making": making}
    return trial.trial(
        found.record() or remedy.story(),
        job,
        words=asked.words,
        unit=_unit(workspace.desk.damage(before)),
        adopted=workspace.settings.adopted,
        here=asked.layer in ("", layer),
        total_db=_totals(workspace, before, asked.layer),
    )


def _totals(
    workspace: Workspace, before: Run, layer: str
) -> tuple[float | None, float | None] | None:
    """SQNR of a layer's output before and after, once the cured run is there."""
    after = workspace.chosen()
    if not (layer and workspace.settings.adopted and after is not None and after.state == "done"):
        return None
    reports = [workspace.desk.report(run) for run in (before, after)]
    found = [
        next(
            (r.get("accumulated_db") for r in report.get("layers", ()) if r["layer"] == layer), None
        )
        for report in reports
    ]
    return found[0], found[1]


def _automatic(workspace: Workspace, run: Run, report: Mapping[str, Any]) -> View | None:
    scores = report.get("scores") or {}
    if not scores.get("float"):
        return None
    known = next(iter(workspace.desk.causes(run).values()), None)
    size = sum(layers.stored_bytes(each) for each in report.get("layers") or ())
    return causes.automatic(scores, round(known["bytes"] if known else size), active(workspace))


def _start(workspace: Workspace, run: Run, **asked: Any) -> None:
    if active(workspace) or workspace.at_work() is not None:
        raise RunError(strings.CURE_RUNNING)
    name = secrets.token_hex(6)
    out = workspace.directory / "runs" / run_name(workspace.settings.title, run.recipe)
    remedy = Remedy(workspace.directory / "cures" / name)
    extent = asdict(workspace.desk.extent)
    remedy.ask(Asked(run=str(run.directory), out=str(out), extent=extent, **asked))
    workspace.desk.start_cure(remedy.study)
    workspace.update(cure=name, adopted=False)


def _waiting(workspace: Workspace) -> Run | None:
    """The cured run that is made and not shown yet."""
    remedy = _remedy(workspace)
    if remedy is None or workspace.settings.adopted:
        return None
    record = remedy.study.record()
    run = None if not record else workspace.find(str(record["run"]))
    return run if run is not None and run.state == "done" else None


def _remedy(workspace: Workspace) -> Remedy | None:
    name = workspace.settings.cure
    remedy = Remedy(workspace.directory / "cures" / name)
    if not (name.isalnum() and remedy.folder.is_dir()):
        return None
    try:
        return remedy if (Path(remedy.asked.run) / "run.json").exists() else None
    except WorkbenchError as error:
        log.warning("%s", error)
        return None


def _shown(workspace: Workspace) -> Run:
    run = workspace.shown()
    if run is None:
        raise RunError(strings.NO_RUN)
    return run


def _cheap(report: Mapping[str, Any]) -> bool:
    return sum(float(each.get("macs") or 0) for each in report.get("layers") or ()) <= CHEAP


def _unit(record: Mapping[str, Any] | None) -> str:
    return strings.DAMAGE_UNITS[str((record or {}).get("answer", "classes"))]


def _progress(found: Study) -> View:
    step = found.step()
    text = str(step["text"]) or strings.ESTIMATING
    return {"text": f"{text[:1].upper()}{text[1:]}…", "fraction": step["fraction"]}
