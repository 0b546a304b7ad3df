"""What programs can ask of the app, by `gradio_client` or plain HTTP: a few named endpoints.

    open         a sample or a file, with data          -> key, model, inputs, layers
    set_recipe   TOML, as `workbench quantize --recipe` -> the recipe with all its defaults
    start        make a run of the recipe               -> run
    status       of a run                               -> state, jobs ahead of it, fraction, time
    stop         the run that is being made
    results      scores, size, layers, verification
    export       the ONNX file

A key stands for one workspace, like the one of a browser: who has it sees its models and runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from workbench.foundation.errors import RunError, WorkbenchError
from workbench.graph.sites import layers as layers_of
from workbench.session import zoo
from workbench.session.recipe import Recipe
from workbench.session.runs import Run
from workbench.session.studies import done
from workbench.ui.gradio.recipe_form import Form
from workbench.ui.gradio.workspace import Desk, Workspace

log = logging.getLogger(__name__)

Answer = dict[str, Any]
LAYER = (
    "layer", "op", "bits_weights", "bits_activations", "alone_weights_db", "alone_activations_db",
    "accumulated_db", "damage_kl",
)  # fmt: skip
_KEYS = ("bytes", "float_bytes", "latency_ms", "float_latency_ms", "seconds")


class Endpoints:
    """The functions behind the names; errors are sentences of the engine.

    Args:
        desk: the server's store.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def open(self, model: str, file: str | None, data: str | None) -> Answer:
        """Open a sample by name, or an uploaded `.onnx`, with uploaded data if it brings none."""
        workspace = self._desk.workspace(None)
        workspace.update()
        if file:
            workspace.open_model(Path(file))
        else:
            workspace.update(model=zoo.find(model).name, title=model, data=None)
        if data:
            workspace.open_data(Path(data))
        session = self._desk.session(workspace.settings)
        graph = session.graph
        inputs = [{"name": i.name, "shape": [str(n) for n in i.shape]} for i in graph.inputs]
        layers = [layer.name for layer in layers_of(graph)]
        return {"key": workspace.key, "model": session.name, "inputs": inputs, "layers": layers}

    def set_recipe(self, key: str, toml: str) -> Answer:
        """Take a recipe for the next run; what it does not say has its default."""
        workspace = self._workspace(key)
        workspace.update(form=Form.of(Recipe.from_toml(toml)))
        return {"recipe": workspace.recipe().toml()}

    def start(self, key: str) -> Answer:
        """Make a run of the recipe."""
        workspace = self._workspace(key)
        return self._status(workspace, workspace.start())

    def status(self, key: str, run: str) -> Answer:
        """How far a run is; without a name the one that was started last."""
        workspace = self._workspace(key)
        return self._status(workspace, _run(workspace, run))

    def stop(self, key: str) -> Answer:
        """End the run that was started last, else the one at work; the page can resume it."""
        workspace = self._workspace(key)
        return self._status(workspace, workspace.stop() or _run(workspace, ""))

    def results(self, key: str, run: str) -> Answer:
        """Scores, sizes, layers and the verdict of ONNX Runtime, of a finished run."""
        report = self._desk.report(done(_run(self._workspace(key), run)))
        layers = [{k: row.get(k) for k in LAYER} for row in report.get("layers") or ()]
        verdict = (report.get("verification") or {}).get("sentence")
        numbers = {name: report.get(name) for name in _KEYS}
        return {"scores": report["scores"], **numbers, "layers": layers, "verification": verdict}

    def export(self, key: str, run: str) -> str:
        """The ONNX file of a finished run."""
        return str(done(_run(self._workspace(key), run)).files.model)

    def _workspace(self, key: str) -> Workspace:
        workspace = self._desk.workspace(key)
        if workspace.key != key or not workspace.directory.exists():
            raise RunError("the key is none of this server; call 'open' first, it gives one")
        return workspace

    def _status(self, workspace: Workspace, run: Run) -> Answer:
        found = run.files.read_progress()
        told = {name: found.get(name) for name in ("fraction", "eta_seconds", "text")}
        place = self._desk.queue.place(run.directory)
        ahead = None if place is None else place.ahead
        state = {"state": workspace.state(run), "ahead": ahead, "message": run.message}
        return {"run": run.name, **state, **told}


def publish(desk: Desk) -> None:
    """Add the endpoints to a page; call inside `gr.Blocks`."""
    ends = Endpoints(desk)
    with gr.Row(visible=False):
        key, text, run = (gr.Textbox(label=label) for label in ("key", "text", "run"))
        model = gr.Textbox(label="model")
        file, data, made = (gr.File(label=label) for label in ("file", "data", "made"))
        answer = gr.JSON()
        button = gr.Button()
    for function, inputs, output in (
        (ends.open, [model, file, data], answer),
        (ends.set_recipe, [key, text], answer),
        (ends.start, [key], answer),
        (ends.status, [key, run], answer),
        (ends.stop, [key], answer),
        (ends.results, [key, run], answer),
        (ends.export, [key, run], made),
    ):
        button.click(
            _explained(function),
            inputs,
            output,
            api_name=function.__name__,
            api_description=function.__doc__,
            show_progress="hidden",
        )


def _explained(function: Callable[..., Any]) -> Callable[..., Any]:
    """What is not possible becomes the engine's sentence for the caller."""

    @wraps(function)
    def answer(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except WorkbenchError as error:
            raise gr.Error(str(error), print_exception=False) from None

    return answer


def _run(workspace: Workspace, name: str) -> Run:
    """A run of the workspace by name, else the newest one.

    Raises:
        RunError: there is none.
    """
    runs = workspace.runs()
    found = next((run for run in runs if name in (run.name, "")), None)
    if found is None:
        known = ", ".join(run.name for run in runs) or "none"
        raise RunError(f"there is no run '{name[:80]}' here; the runs of this key: {known}")
    return found
