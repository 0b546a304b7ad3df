"""What happens when something is chosen, clicked or dragged.

Handlers are thin: they change the workspace, then say which components are drawn anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from workbench.foundation.errors import WorkbenchError
from workbench.graph.targets import TARGETS
from workbench.session.inspection import transform_proof
from workbench.ui.gradio import (
    bits,
    compare,
    cures,
    export,
    levels,
    links,
    opening,
    recipe_card,
    screen,
    survey,
)
from workbench.ui.gradio.downloads import served
from workbench.ui.gradio.layout import Page
from workbench.ui.gradio.pictures import payload
from workbench.ui.gradio.recipe_form import Form
from workbench.ui.gradio.settings import VIEWS
from workbench.ui.gradio.wire import (
    AT,
    BUSY,
    KEY,
    MORE,
    PAUSE,
    SEEN,
    Packer,
    Pages,
    Updates,
    had,
    now,
    parsed,
    values_of,
)
from workbench.ui.gradio.workspace import Desk, Workspace
from workbench.views import strings, targets
from workbench.views.code import code as code_view

log = logging.getLogger(__name__)


class Handlers:
    """The handlers of one page.

    Args:
        desk: the server's store.
        page: its components.
    """

    def __init__(self, desk: Desk, page: Page) -> None:
        self.desk = desk
        self.page = page
        self.packer = Packer(page.drawn, page.parts)
        self._asked = 0
        self._pages = Pages()

    def load(self, key: str | None, request: gr.Request) -> Updates:
        """A page was opened or reloaded, perhaps at an address that leads somewhere."""
        workspace = self.desk.workspace(key)
        notice = links.follow(workspace, dict(request.query_params))
        levels.reveal(workspace)
        settings = workspace.settings
        self.desk.baselines.ensure(settings.model, settings.data)
        cures.ensure(workspace)
        cures.settle(workspace)
        return {
            self.page.key: workspace.key,
            KEY: workspace.key,
            **self._form(workspace),
            **self._everything(workspace, notice),
        }

    def refresh(self, key: str | None) -> Updates:
        """More has changed than the pulse can tell: draw everything."""
        workspace = self.desk.workspace(key)
        if cures.settle(workspace):
            return {**self._everything(workspace), **self._form(workspace)}
        return self._everything(workspace)

    def pulse(self, question: object) -> str | None:
        """Something is being made: its progress; the page asks past the queue, every while.

        Args:
            question: JSON text with the page's `key` and what it has.
        """
        asked = parsed(question)
        workspace = self.desk.workspace(asked.get("key"))
        seen, has = had(asked.get("have"))
        pause = self._pages.pause(workspace.key)
        cures.ensure(workspace)
        if cures.due(workspace) or screen.token(workspace) != seen:
            return self.packer.news({MORE: True}, has)
        facts = {AT: now(), BUSY: screen.busy(workspace), PAUSE: pause}
        return self.packer.news({**facts, **self._progress(workspace)}, has)

    def look(self, question: object) -> str | None:
        """A layer, a channel or the like was chosen: only pictures follow; past the queue, too.

        Args:
            question: JSON text with the message of the picture, the page's `key`, what it has.
        """
        message = parsed(question)
        if message.get("kind") not in levels.KINDS:
            return None
        workspace = self.desk.workspace(message.get("key"))
        table = levels.move(workspace, message)
        elsewhere = message.get("picture") != self.page.pictures["layers"].elem_id
        updates = self._layer(workspace, table=table or (message["kind"] == "layer" and elsewhere))
        return self.packer.news(updates, had(message.get("have"))[1])

    def _progress(self, workspace: Workspace) -> Updates:
        """The pictures that tell how far something is."""
        view = workspace.settings.view
        views = {"curves": screen.learning(workspace)}
        if workspace.jobs():
            views["runs"] = screen.runs(workspace)
        if view == "export":
            views["export"] = screen.exported(workspace)
        if view == "bits":
            views["bits"] = screen.allotted(workspace)
        if view == "learning":
            views["signals"] = screen.learned(workspace)
        updates: Updates = {self.page.pictures[name]: payload(v) for name, v in views.items()}
        return updates | (self._why(workspace) if view == "layers" else {})

    def choose_model(self, key: str | None, model: str) -> Updates:
        """Another model."""
        workspace = self.desk.workspace(key)
        changed = model != workspace.settings.model
        return self._after(workspace, lambda: changed and opening.choose(workspace, model))

    def upload_model(self, key: str | None, path: str | None) -> Updates:
        """A model of one's own."""
        workspace = self.desk.workspace(key)
        return self._after(workspace, lambda: path and opening.take_model(workspace, Path(path)))

    def upload_data(self, key: str | None, path: str | None) -> Updates:
        """Data of one's own."""
        workspace = self.desk.workspace(key)
        return self._after(workspace, lambda: path and opening.take_data(workspace, Path(path)))

    def drop_model(self, key: str | None, path: str | None) -> Iterator[Updates]:
        """A model was dropped where work begins."""
        yield from self._dropped(key, path, opening.take_model, self.page.drop_model)

    def drop_data(self, key: str | None, path: str | None) -> Iterator[Updates]:
        """Data were dropped there."""
        yield from self._dropped(key, path, opening.take_data, self.page.drop_data)

    def _dropped(
        self, key: str | None, path: str | None, take: Callable[[Workspace, Path], str], zone: Any
    ) -> Iterator[Updates]:
        """Say that the file is looked at, take it, and show what came of it."""
        workspace = self.desk.workspace(key)
        if not path:
            return
        file = Path(path)
        yield {self.page.pictures["open"]: payload(opening.reading(workspace, file))}
        updates = self._after(
            workspace, lambda: opening.to_layers(workspace, take(workspace, file))
        )
        yield {**updates, zone: None}

    def select_open(self, key: str | None, event: gr.EventData) -> Iterator[Updates]:
        """A card, a proposal, or a button beside what is on screen was clicked."""
        workspace = self.desk.workspace(key)
        message = _message(event)
        kind, name = message.get("kind"), message.get("model")
        if kind == "model":
            yield {self.page.pictures["open"]: payload(opening.waiting(workspace, name))}
            yield self._after(
                workspace, lambda: opening.to_layers(workspace, opening.choose(workspace, name))
            )
        elif kind == "data":
            yield self._after(workspace, lambda: opening.drop_data(workspace))
        elif kind == "try":
            yield self._after(workspace, lambda: opening.attempt(workspace, message.get("name")))
        elif kind == "dismiss":
            workspace.update(guided=False)
            yield {self.page.pictures["tries"]: payload(opening.tries(workspace))}

    def upload_recipe(self, key: str | None, path: str | None) -> Updates:
        """A recipe of one's own: the form shows it."""
        workspace = self.desk.workspace(key)
        return self._after(workspace, lambda: path and workspace.open_recipe(Path(path)))

    def upload_teacher(self, key: str | None, path: str | None) -> Updates:
        """A bigger model to learn from."""
        workspace = self.desk.workspace(key)
        return self._after(workspace, lambda: path and workspace.open_teacher(Path(path)))

    def change_form(self, key: str | None, said: object) -> Updates:
        """Keep what the form says, and say whether it can be."""
        workspace = self.desk.workspace(key)
        self._read(workspace, said)
        return self._possible(workspace)

    def choose(self, kinds: Collection[str]) -> Callable[..., Iterator[Updates]]:
        """A handler that also shows the options of what was chosen, of these `kinds`."""

        def choose(key: str | None, said: object) -> Iterator[Updates]:
            workspace = self.desk.workspace(key)
            form = self._read(workspace, said)
            shown = recipe_card.consequences(self.page.controls, form, kinds)
            yield {**self._possible(workspace), **shown}
            if "transform" in kinds:
                yield from self._transformed(workspace)

        return choose

    def _transformed(self, workspace: Workspace) -> Iterator[Updates]:
        """Measure what the transformations change in the float network."""
        at, names = now(), workspace.settings.form.transforms
        picture = self.page.pictures["changed"]
        if names:
            words = {"text": "Measuring what that changes…", "tone": "plain"}
            yield {AT: at, picture: payload(words)}
        view = {"text": "", "tone": "plain"}
        try:
            if names:
                asked = workspace.settings.form.recipe().preparation
                found = transform_proof(self.desk.session(workspace.settings), asked)
                view["text"] = targets.changes([step.record() for step in found])
        except WorkbenchError as error:
            view = {"text": str(error), "tone": "bad"}
        yield {AT: at, picture: payload(view)}

    def choose_view(self, key: str | None, view: str) -> Iterator[Updates]:
        """Layers, what was learned at each site, or the export view."""
        workspace = self.desk.workspace(key)
        workspace.update(view=view if view in VIEWS else "layers")
        if view == "export":
            yield {self.page.pictures["export"]: payload(export.opening())}
        yield self._everything(workspace)

    def select_export(self, key: str | None, event: gr.EventData) -> Iterator[Updates]:
        """A part was chosen, or one of its buttons was clicked."""
        workspace = self.desk.workspace(key)
        message = _message(event)
        kind = message.get("kind")
        if kind == "part":
            workspace.update(part=str(message.get("part")))
            yield self._everything(workspace)
        elif kind == "measure":
            yield self._after(
                workspace, lambda: export.measure(workspace, message.get("study")), form=False
            )
        elif kind == "cure":
            view = export.waiting(workspace, "writing the cured file")
            yield {self.page.pictures["export"]: payload(view)}
            name = str(message.get("cure"))
            yield self._after(workspace, lambda: export.cure(workspace, name), form=False)
        elif kind == "target" and message.get("target") in TARGETS:
            form = replace(workspace.settings.form, target=str(message["target"]))
            workspace.update(form=form)
            yield self._after(workspace, lambda: None)

    def select_bits(self, key: str | None, event: gr.EventData) -> Updates:
        """Measure, take a choice, or look at a layer."""
        workspace = self.desk.workspace(key)
        message = _message(event)
        kind = message.get("kind")
        if kind == "layer":
            return self._open_layer(workspace, message)
        if kind == "use":
            return self._after(workspace, lambda: bits.use(workspace, str(message.get("choice"))))
        return self._after(workspace, lambda: bits.measure(workspace), form=False)

    def _open_layer(self, workspace: Workspace, message: Updates) -> Updates:
        """A layer was chosen in another view than that of the layers."""
        levels.move(workspace, {"kind": "layer", "layer": message.get("layer")})
        workspace.update(view="layers")
        return {self.page.view: "layers", **self._everything(workspace)}

    def select_compared(self, key: str | None, event: gr.EventData) -> Updates:
        """A part or a run of the compare view was chosen, or a layer in one of its charts."""
        workspace = self.desk.workspace(key)
        message = _message(event)
        kind = message.get("kind")
        if kind == "part":
            workspace.update(compare_part=str(message.get("part")))
        elif kind == "compared":
            compare.toggle(workspace, str(message.get("run")))
        elif kind == "layer":
            return self._open_layer(workspace, message)
        at = now()
        return {AT: at, self.page.pictures["compare"]: payload(screen.side_by_side(workspace))}

    def select_survey(self, key: str | None, event: gr.EventData) -> Updates:
        """A recipe of the survey's maps is to be opened on its sample."""
        workspace = self.desk.workspace(key)
        part = str(_message(event).get("part"))
        return self._after(workspace, lambda: survey.use(workspace, part))

    def _possible(self, workspace: Workspace) -> Updates:
        """The hints beside the form, and all that follows from it."""
        at = now()
        views = {**screen.hints(workspace), "export": screen.exported(workspace)}
        updates: Updates = {self.page.pictures[name]: payload(v) for name, v in views.items()}
        return {**updates, AT: at, self.page.controls.run: self._runnable(workspace)}

    def _runnable(self, workspace: Workspace) -> Updates:
        active = cures.active(workspace)
        return gr.update(interactive=not (active or screen.refusal(workspace)))

    def select(self, key: str | None, event: gr.EventData) -> Updates:
        """A button beside the layers, or a run, was clicked."""
        workspace = self.desk.workspace(key)
        message = _message(event)
        kind = message.get("kind")
        if kind == "errors":
            return self._after(workspace, lambda: cures.measure(workspace), form=False)
        if kind == "remove":
            return self._after(workspace, lambda: workspace.remove(str(message.get("run"))))
        if kind == "run":
            workspace.update(run=str(message.get("run") or ""))
            return {**self._everything(workspace), **self._adopt(workspace)}
        return {}

    def select_why(self, key: str | None, event: gr.EventData) -> Updates:
        """A cure, or another button beside the causes, was clicked."""
        workspace = self.desk.workspace(key)
        message = _message(event)
        name = str(message.get("layer"))
        actions: dict[str, Callable[[], None]] = {
            "look": lambda: cures.look(workspace, name),
            "cure": lambda: cures.apply(workspace, name, _whole(message.get("number")) or 0),
            "auto": lambda: cures.automatic(
                workspace, _real(message.get("within")), _whole(message.get("budget"))
            ),
            "stop": lambda: cures.stop(workspace),
            "dismiss": lambda: cures.dismiss(workspace),
            "back": lambda: cures.back(workspace),
        }
        action = actions.get(str(message.get("kind")))
        if action is None:
            return {}
        return self._after(workspace, action, form=message.get("kind") == "back")

    def run(self, key: str | None, said: object) -> Updates:
        """Start a job."""
        workspace = self.desk.workspace(key)
        self._read(workspace, said)
        return self._after(workspace, workspace.start, form=False)

    def stop(self, key: str | None) -> Updates:
        """End the job."""
        workspace = self.desk.workspace(key)
        curing = cures.active(workspace)
        action = (lambda: cures.stop(workspace)) if curing else workspace.stop
        return self._after(workspace, action, form=False)

    def resume(self, key: str | None) -> Updates:
        """Go on with it."""
        workspace = self.desk.workspace(key)
        return self._after(workspace, workspace.resume, form=False)

    def show_code(self, key: str | None, said: object) -> Updates:
        """The form as code."""
        workspace = self.desk.workspace(key)
        form = self._read(workspace, said)
        settings = workspace.settings
        try:
            toml = form.recipe().toml()
        except WorkbenchError as error:
            return {self.page.pictures["notice"]: payload({"text": str(error), "tone": "bad"})}
        self._asked += 1
        model = settings.model if settings.model == settings.title else f"{settings.title}.onnx"
        data = Path(settings.data).name if settings.data else None
        view = code_view(recipe_words(form), toml, model, data)
        return {self.page.code: payload({**view, "asked": self._asked})}

    def _after(
        self, workspace: Workspace, action: Callable[[], Any], *, form: bool = True
    ) -> Updates:
        """Do it, then draw; what is not possible becomes one calm sentence."""
        notice, tone = "", "bad"
        try:
            found = action()
            notice, tone = (found, "good") if isinstance(found, str) else ("", "good")
        except WorkbenchError as error:
            notice = str(error)
        except Exception:
            log.exception("a handler failed")
            notice = strings.UNFORESEEN
        settings = workspace.settings
        self.desk.baselines.ensure(settings.model, settings.data)
        updates = self._everything(workspace, notice, tone)
        return {**updates, **self._form(workspace)} if form else updates

    def _everything(self, workspace: Workspace, notice: str = "", tone: str = "bad") -> Updates:
        """All pictures, buttons and downloads."""
        # these before the pictures: what ends while they are drawn is then drawn at the next pulse
        at = now()
        seen, busy = screen.token(workspace), screen.busy(workspace)
        views = screen.screen(workspace, notice, tone)
        updates: Updates = {self.page.pictures[name]: payload(v) for name, v in views.items()}
        active = cures.active(workspace) or workspace.at_work() is not None
        chosen = workspace.chosen()
        halted = chosen is not None and workspace.state(chosen) in ("stopped", "failed")
        controls = self.page.controls
        return {
            **updates,
            **self._files(workspace),
            AT: at,
            SEEN: seen,
            BUSY: busy,
            controls.run: self._runnable(workspace),
            controls.stop: gr.update(visible=active),
            controls.resume: gr.update(visible=halted),
        }

    def _layer(self, workspace: Workspace, *, table: bool) -> Updates:
        at, run = now(), workspace.shown()
        report = {} if run is None else screen.named(workspace, run)
        views = {
            "inspector": screen.detail(workspace, run, report),
            "why": screen.why(workspace, run, report),
            "address": screen.address(workspace, report),
        }
        if table:
            views["layers"] = screen.layer_table(workspace, run, report)
        updates: Updates = {self.page.pictures[name]: payload(v) for name, v in views.items()}
        return {**updates, AT: at, BUSY: screen.busy(workspace)}

    def _why(self, workspace: Workspace) -> Updates:
        """Causes and cures, and how far the damage of all layers is measured."""
        run = workspace.shown()
        report = {} if run is None else screen.named(workspace, run)
        views = {"why": screen.why(workspace, run, report)}
        if cures.measuring(workspace):
            views["layers"] = screen.layer_table(workspace, run, report)
        return {self.page.pictures[name]: payload(v) for name, v in views.items()}

    def _form(self, workspace: Workspace) -> Updates:
        """The controls as the settings say."""
        settings = workspace.settings
        return {self.page.view: settings.view, **recipe_card.shown(self.page.controls, settings)}

    def _adopt(self, workspace: Workspace) -> Updates:
        """Show the recipe of the chosen run in the form."""
        run = workspace.chosen()
        if run is None:
            return {}
        workspace.update(form=Form.of(run.recipe))
        # not the view: it may have been changed while this was drawn
        return recipe_card.shown(self.page.controls, workspace.settings)

    def _files(self, workspace: Workspace) -> Updates:
        """Copies for download: Gradio serves only what lies in the temporary folder."""
        found = screen.downloads(workspace)
        run = workspace.shown()
        updates: Updates = {}
        for name, button in self.page.downloads.items():
            path = found.get(name)
            file = None if path is None or run is None else served(path, workspace.key, run.name)
            updates[button] = gr.update(value=file, interactive=file is not None)
        cured = export.cured(workspace) if workspace.settings.exporting else None
        shown = workspace.settings.part == "verification"
        if cured is None or run is None or not shown:
            return {**updates, self.page.cured: gr.update(visible=False)}
        file = served(cured, workspace.key, run.name)
        label = f"Download {cured.name}"
        return {**updates, self.page.cured: gr.update(label=label, value=file, visible=True)}

    def _read(self, workspace: Workspace, said: object) -> Form:
        """What the form says, kept; what is no form says nothing."""
        try:
            form = recipe_card.read(self.page.controls, values_of(said))
        except (TypeError, ValueError) as error:
            log.warning("a page said something that is no form: %s", error)
            return workspace.settings.form
        workspace.update(form=form)
        return form


def _message(event: gr.EventData) -> dict[str, Any]:
    """What a picture sent; empty for what is none of its messages."""
    return dict(event._data) if isinstance(event._data, dict) else {}


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and abs(value) < 1e15 else None


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e15 else None


def recipe_words(form: Form) -> dict[str, Any]:
    """The form as `views.code` takes it."""
    return {
        "weights": form.weights,
        "activations": form.activations or None,
        "edges": form.edges or None,
        "method": form.method,
        "options": dict(form.options),
        "target": form.target,
        "table": form.table,
        "transforms": form.transforms,
        "synthetic": form.synthetic,
        "teacher": Path(form.teacher).name,
        "file": "" if form.in_words else "recipe.toml",
    }
