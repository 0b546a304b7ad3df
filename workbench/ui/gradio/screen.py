"""From a workspace to everything that is on the screen: view-models by picture."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from workbench.analysis.channels import weight_axis
from workbench.analysis.distributions import channel_record
from workbench.analysis.weights import channel_weights
from workbench.foundation.errors import WorkbenchError
from workbench.graph.targets import TARGETS
from workbench.quantizers.base import Frozen
from workbench.session.data_free import check
from workbench.session.runs import Run
from workbench.session.studies import Study
from workbench.ui.gradio import (
    bits,
    compare,
    cures,
    export,
    lessons,
    levels,
    links,
    opening,
    survey,
)
from workbench.ui.gradio.settings import run_label, run_method, run_settings
from workbench.ui.gradio.workspace import Workspace
from workbench.views import (
    inspector,
    layers,
    overview,
    progress,
    signals,
    sites,
    strings,
    summary,
    targets,
    verification,
)

log = logging.getLogger(__name__)

BASELINE = "nearest"
EXCEPTIONS = 4  # are told beside the form
View = dict[str, Any]


def screen(workspace: Workspace, notice: str = "", tone: str = "bad") -> dict[str, View]:
    """The view-model of every picture."""
    run = workspace.shown()
    report = {} if run is None else named(workspace, run)
    return {
        "scores": _scores(workspace, run, report),
        "address": address(workspace, report),
        "layers": layer_table(workspace, run, report),
        "inspector": detail(workspace, run, report),
        "why": why(workspace, run, report),
        "curves": learning(workspace),
        "runs": runs(workspace),
        "verdict": verification.verdict(
            report.get("verification"), report, _proved(workspace, run)
        ),
        "notice": _notice(workspace, notice, tone),
        "signals": learned(workspace),
        "bits": allotted(workspace),
        "compare": side_by_side(workspace),
        "export": exported(workspace),
        "lessons": lessons.view(workspace),
        "survey": survey.view(workspace),
        "open": opening.view(workspace),
        "loaded": opening.loaded(workspace),
        "tries": opening.tries(workspace),
        **hints(workspace),
    }


def address(workspace: Workspace, report: Mapping[str, Any]) -> View:
    """The deep link to what is on screen; none before there is something.

    None either before the browser has told its key: the address it came with is not read yet.
    """
    settings = workspace.settings
    place: View = {}
    if not settings.whole:
        name = layer(workspace, report)
        place = {"layer": name, "channel": settings.channel, "weight": settings.weight}
    return {"link": links.link(workspace, place) if report and workspace.key else ""}


def allotted(workspace: Workspace) -> View:
    """The bits view; nothing while it is not open."""
    return bits.view(workspace) if workspace.settings.view == "bits" else {}


def side_by_side(workspace: Workspace) -> View:
    """The compare view; nothing while it is not open."""
    return compare.view(workspace) if workspace.settings.view == "compare" else {}


def exported(workspace: Workspace) -> View:
    """The export view; nothing while it is not open."""
    return export.view(workspace) if workspace.settings.exporting else {}


def hints(workspace: Workspace) -> dict[str, View]:
    """What the target means, and why the form's recipe cannot be, if so."""
    form = workspace.settings.form
    meaning = targets.meaning(TARGETS[form.target].record()) if form.target in TARGETS else ""
    return {
        "meaning": {"text": meaning, "tone": "plain"},
        "refusal": {"text": refusal(workspace), "tone": "bad"},
        "exceptions": {"text": _exceptions(workspace), "tone": "plain"},
    }


def refusal(workspace: Workspace) -> str:
    """One sentence of the engine on what does not fit; empty where all does."""
    try:
        recipe = workspace.recipe()
        if recipe.synthetic is not None:
            check(workspace.desk.session(workspace.settings), recipe)
    except WorkbenchError as error:
        return str(error)
    return ""


def _exceptions(workspace: Workspace) -> str:
    """What the form's recipe does otherwise for some layers; empty where it does not."""
    try:
        overrides = workspace.settings.form.recipe().overrides
    except WorkbenchError:
        return ""
    found = [strings.exception(each.model_dump(exclude_none=True)) for each in overrides]
    more = len(found) - EXCEPTIONS
    shown = [*found[:EXCEPTIONS], *([f"and {more} more"] if more > 0 else [])]
    return f"{strings.EXCEPTIONS}: {'; '.join(shown)}." if found else ""


def token(workspace: Workspace) -> str:
    """Changes whenever more than the learning curves must be drawn again."""
    states = [f"{run.name}={workspace.state(run)}" for run in workspace.runs()]
    baseline = workspace.baseline()
    settings = workspace.settings
    problem = workspace.desk.baselines.problem(settings.model, settings.data)
    about = "none" if baseline is None else baseline.state
    parts = (settings.model, settings.data, settings.run, about, problem, ",".join(states))
    measured = bits.state(workspace) if settings.view == "bits" else ""
    tokens = (cures.token(workspace), export.token(workspace), measured)
    return "|".join(map(str, (*parts, *tokens)))


def busy(workspace: Workspace) -> bool:
    """True while something on the page is still being made."""
    settings = workspace.settings
    making = workspace.desk.baselines.busy(settings.model, settings.data)
    running = making or workspace.at_work() is not None
    measuring = settings.view == "bits" and bits.state(workspace) == "running"
    running = running or measuring or cures.busy(workspace)
    return running or (settings.exporting and export.busy(workspace))


def named(workspace: Workspace, run: Run) -> View:
    """A run's report with its method, and the damage of its layers as far as it is known."""
    report = workspace.desk.report(run)
    found = sites.with_damage(report.get("layers") or (), workspace.desk.damage(run))
    found = layers.with_latency(found, Study(run.directory, "times").record())
    return {**report, "layers": found, "method": run_method(run.recipe)}


def layer_table(workspace: Workspace, run: Run | None, report: Mapping[str, Any]) -> View:
    """The table of layers, or what is being done about it."""
    if not report:
        message = strings.NO_LAYERS if _problem(workspace) else strings.ANALYSING
        return {"rows": None, "message": message}
    return layers.table(
        report.get("layers") or [],
        measure=workspace.settings.measure,
        selected=layer(workspace, report),
        form=workspace.settings.layers_as,
        graph=levels.graph(workspace),
        **cures.table_extras(run),
    )


def why(workspace: Workspace, run: Run | None, report: Mapping[str, Any]) -> View:
    """Causes of the selected layer, and the cure being tried; nothing beside the summary."""
    if run is not None and workspace.settings.whole:
        return {}
    return cures.view(workspace, run, report, layer(workspace, report))


def detail(workspace: Workspace, run: Run | None, report: Mapping[str, Any]) -> View:
    """The selected layer, or the summary of the model."""
    records = report.get("layers") or []
    chosen = layer(workspace, report)
    if run is None or chosen is None:
        message = strings.sentence_case(_problem(workspace)) or strings.ANALYSING
        return {"layer": None, "message": message}
    histograms = report.get("histograms") or {}
    channel = _channel(workspace, run, histograms, chosen)
    name = workspace.settings.title
    before = report.get("naive_layers") or ()
    measure = workspace.settings.measure
    if workspace.settings.whole:
        view: View = {"overview": overview.overview(report, records, measure, before)}
    else:
        view = inspector.inspector(name, records, histograms, chosen, channel, before, measure)
    crumbs = levels.crumbs(workspace, chosen, channel)
    return {**view, "levels": crumbs, "key": workspace.key, "run": run.name}


def learning(workspace: Workspace) -> View:
    """Curves of the run that is being made, else of the chosen one."""
    run = workspace.learner()
    if run is None:
        baseline = workspace.baseline()
        if baseline is not None and baseline.state == "running":
            found = baseline.files.read_progress()
            return progress.learning([], found, "running", strings.BASELINE_TITLE)
        settings = workspace.settings
        if workspace.desk.baselines.busy(settings.model, settings.data):
            begun = {"text": strings.ANALYSING_SHORT}
            return progress.learning([], begun, "running", strings.BASELINE_TITLE)
        return progress.learning([], None, "")
    place = workspace.desk.queue.places().get(run.directory)
    if place is not None:
        return progress.queued(place.ahead, place.seconds, label(run))
    found = run.files.read_progress()
    return progress.learning(run.events(), found, run.state, label(run), run.message)


def learned(workspace: Workspace) -> View:
    """Signals of the same run, site by site; nothing while that view is not open."""
    if workspace.settings.view != "learning":
        return {}
    run = workspace.learner() or workspace.baseline()
    if run is None:
        return signals.signals([], None, "")
    return signals.signals(run.events(), run.files.read_progress(), run.state, label(run))


def runs(workspace: Workspace) -> View:
    """The table of runs, the baseline last."""
    shown = workspace.chosen()
    entries = [_entry(workspace, run, label(run)) for run in workspace.runs()]
    baseline = workspace.baseline()
    if baseline is not None and entries:
        entries.append({**_entry(workspace, baseline, nearest(baseline)), "id": ""})
    return summary.runs(entries, "" if shown is None else shown.name)


def label(run: Run) -> str:
    """A short name for a run: bits and method."""
    return run_label(run.recipe)


def nearest(baseline: Run) -> str:
    """The same for what nothing was learned in."""
    return label(baseline).replace("rtn", BASELINE)


def _proved(workspace: Workspace, run: Run | None) -> str:
    """Whose file the verdict is about; the one on screen need not be the one that was chosen."""
    if run is None:
        return ""
    baseline = workspace.baseline()
    own = baseline is not None and baseline.name == run.name
    return (nearest(run) if own else label(run)).partition(",")[0]


def failure(workspace: Workspace) -> str:
    """Why the chosen run failed, or the baseline could not be made; empty otherwise."""
    chosen = workspace.chosen()
    if chosen is not None and chosen.state == "failed":
        return chosen.message
    return _problem(workspace)


def downloads(workspace: Workspace) -> dict[str, Path]:
    """Files of the run on screen that can be taken home."""
    run = workspace.shown()
    if run is None:
        return {}
    report = run.directory / "report.html"
    if not report.exists():
        from workbench.views.report import write

        write(named(workspace, run), report, run.events())
    found = {"model": run.files.model, "recipe": run.files.recipe, "report": report}
    return {name: path for name, path in found.items() if path.exists()}


def _scores(workspace: Workspace, run: Run | None, report: View) -> View:
    if run is None:
        return summary.nothing() if _problem(workspace) else {"items": []}
    baseline = workspace.baseline()
    scores = dict(report.get("scores") or {})
    if "naive" not in scores and baseline is not None and run.name == baseline.name:
        scores["naive"] = scores.pop("learned", None)
    return summary.scores({**report, "scores": scores})


def layer(workspace: Workspace, report: Mapping[str, Any]) -> str | None:
    """The selected layer; by default the one that hurts most."""
    records = report.get("layers") or []
    wanted = workspace.settings.layer
    if any(record["layer"] == wanted for record in records):
        return wanted
    known = any("damage_kl" in record for record in records)
    return layers.worst(records, "damage" if known else "weights")


def _channel(
    workspace: Workspace, run: Run, histograms: Mapping[str, Any], layer: str
) -> View | None:
    """The record of one channel's weights, if one is chosen."""
    index = workspace.settings.channel
    weights = (
        site
        for site, held in histograms.items()
        if held.get("layer") == layer and held.get("kind") == "weight"
    )
    site = next(weights, None)
    if index is None or site is None:
        return None
    try:
        model = workspace.desk.model(run)
    except WorkbenchError as error:
        log.warning("%s", error)
        return None
    weight, axis = model.weight(site).detach(), weight_axis(model, model.sites[site])
    if not 0 <= index < weight.shape[axis]:
        return None
    frozen = model.quantizer(site).frozen(weight)
    return {
        "index": index,
        "record": channel_record(weight, frozen, index, axis),
        **_weights(workspace, weight, frozen, index, axis),
    }


def _weights(workspace: Workspace, weight: Tensor, frozen: Frozen, channel: int, axis: int) -> View:
    """The single weights of a channel; the chosen one only where there is such a one."""
    chosen = workspace.settings.weight
    try:
        found = channel_weights(weight, frozen, channel, chosen or 0, axis)
    except IndexError:
        chosen, found = None, channel_weights(weight, frozen, channel, axis=axis)
    return {"weights": found.record(), "weight": chosen}


def _problem(workspace: Workspace) -> str:
    """Why nearest rounding could not be made; empty where it was, or is being."""
    settings = workspace.settings
    return workspace.desk.baselines.problem(settings.model, settings.data)


def _notice(workspace: Workspace, text: str, tone: str) -> View:
    problem = text or failure(workspace)
    return {"text": strings.sentence_case(problem), "tone": tone if text else "bad"}


def _entry(workspace: Workspace, run: Run, name: str) -> View:
    state = workspace.state(run)
    done = state == "done"
    place = workspace.desk.queue.places().get(run.directory)
    return {
        "id": run.name,
        "name": name,
        "state": state,
        "place": None if place is None else asdict(place),
        "progress": run.files.read_progress() if state == "running" else None,
        "settings": run_settings(run.recipe),
        "report": workspace.desk.report(run) if done else None,
    }
