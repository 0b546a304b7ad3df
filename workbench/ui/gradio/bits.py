"""The bits view: what widths do to layers is measured once, then a slider chooses a mixture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.foundation.errors import RunError
from workbench.session.recipe import Override
from workbench.session.runs import Run
from workbench.session.studies import Study
from workbench.ui.gradio.recipe_form import Form
from workbench.ui.gradio.workspace import Workspace
from workbench.views import allocation, strings, study

View = dict[str, Any]


def view(workspace: Workspace) -> View:
    """The view-model: the choices, or how to come by them."""
    run, found = workspace.shown(), workspace.study("bits")
    record = None if found is None else found.record()
    if run is None or record is None:
        return _before(found)
    words = {"title": strings.BITS_CURVE, "use": strings.BITS_USE, "help": strings.BITS_USE_HELP}
    asked = workspace.settings.form.weights
    return {**allocation.explorer(record, _layers(workspace, run), asked), **words}


def state(workspace: Workspace) -> str:
    """Where the study of the run on screen stands."""
    found = workspace.study("bits")
    return "none" if found is None else found.state


def measure(workspace: Workspace) -> None:
    """Start the study.

    Raises:
        RunError: no finished run is on screen, or too much is going on.
    """
    found = workspace.study("bits")
    if found is None:
        raise RunError(strings.NO_RUN)
    workspace.desk.start_study(found)


def use(workspace: Workspace, key: str) -> str:
    """Put a choice into the form, in place of bits that were chosen so before; what was done.

    Raises:
        RunError: there is no such choice.
    """
    found = workspace.study("bits")
    record = None if found is None else found.record()
    choice = None if record is None else _offered(record, key)
    if record is None or choice is None:
        raise RunError("these bits are no longer on screen; measure the layers again")
    recipe = workspace.settings.form.recipe()
    patterns = record["patterns"]
    own = set(patterns.values())
    kept = [each for each in recipe.overrides if each.pattern not in own]
    usual = recipe.weights.bits
    new = [
        Override(pattern=patterns[name], weights=int(bits))
        for name, bits in choice["bits"].items()
        if int(bits) != usual
    ]
    form = Form.of(recipe.changed(overrides=(*kept, *new)))
    workspace.update(form=form)
    average = f"{choice['costs']['average_bits']:.2f} bits on average"
    return strings.BITS_USED.format(sentence=average)


def _before(found: Study | None) -> View:
    """Before there are choices."""
    if found is None:
        return {"message": strings.NO_RUN}
    if found.state == "running":
        return {"message": strings.BITS_EMPTY, "progress": study.progress(found.step())}
    return {"message": found.message or strings.BITS_EMPTY, "action": strings.BITS_MEASURE}


def _layers(workspace: Workspace, run: Run) -> dict[str, str]:
    """Weight -> layer, in the order of the network."""
    records = workspace.desk.report(run).get("histograms") or {}
    return {
        site: str(record["layer"])
        for site, record in records.items()
        if record.get("kind") == "weight"
    }


def _offered(record: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    kind, _, index = key.partition(":")
    offered = {"point": record["points"], "uniform": record["uniform"]}.get(kind, [])
    return offered[int(index)] if index.isdecimal() and int(index) < len(offered) else None
