"""The Gradio app: one screen from a float model to a proven low-bit file."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# around each event Gradio asks for matplotlib's backend; unnamed, it takes seconds to be found
os.environ.setdefault("MPLBACKEND", "agg")

import gradio as gr
from rich.console import Console

from workbench.session import zoo
from workbench.session.execute import Extent
from workbench.session.store import write_bytes
from workbench.ui.gradio import api, lessons, sessions, survey, theme, wire
from workbench.ui.gradio.exact import exact_range
from workbench.ui.gradio.handlers import Handlers
from workbench.ui.gradio.layout import Page, page
from workbench.ui.gradio.limits import Limits
from workbench.ui.gradio.pictures import payload
from workbench.ui.gradio.screen import screen
from workbench.ui.gradio.serving import Serving
from workbench.ui.gradio.serving import serving as from_environment
from workbench.ui.gradio.settings import FIRST_MODEL, Settings
from workbench.ui.gradio.wire import Wire
from workbench.ui.gradio.workspace import Desk

log = logging.getLogger(__name__)

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
LIGHT: dict[str, Any] = {**QUIET, "concurrency_limit": None}
LAST: dict[str, Any] = {**LIGHT, "trigger_mode": "always_last"}

#: seconds that an idle connection stays; a page asks every five, and after five uvicorn closes it,
#: so that a question of a busy hour was lost between the two
KEEP_ALIVE = 75


def build(
    root: str | Path | None = None,
    extent: Extent | None = None,
    model: str = FIRST_MODEL,
    data: str | None = None,
    limits: Limits | None = None,
) -> gr.Blocks:
    """The app, not yet served.

    Args:
        root: folder for baselines, uploads and runs; by default `app` in the cache folder.
        extent: what runs include beyond learning and export.
        model: what a new page shows, a name or a path; data: for a model that brings none.
        limits: of one page.
    """
    folder = Path(root) if root else zoo.cache_dir() / "app"
    folder.mkdir(parents=True, exist_ok=True)
    title = Path(model).stem if Path(model).is_file() else model
    first = Settings(model=model, title=title, data=data)
    desk = Desk(folder, extent, first, limits)
    desk.baselines.ensure(first.model, first.data)

    def exact_range_of(payload: Any) -> dict[str, float] | None:
        return exact_range(desk, payload)

    exact_range_of.__name__ = "exact_range"
    lesson_of, survey_of = lessons.server(desk), survey.server(desk)
    with gr.Blocks(title="Workbench", analytics_enabled=False, fill_width=True) as demo:
        drawn = page(exact_range_of, lesson_of, survey_of, _secret(folder), first)
        for name, view in screen(desk.nobody()).items():
            drawn.pictures[name].value = payload(view)
        api.publish(desk)  # first: what is connected later cannot take its names
        _connect(demo, drawn, Handlers(desk, drawn))
        sessions.forget_closed(demo)
    sessions.share_configurations(demo)
    demo.queue(default_concurrency_limit=16, max_size=256)
    return demo


def launch(demo: gr.Blocks, serving: Serving | None = None, *, open_browser: bool = False) -> str:
    """Start a server for the page and return at once; its address. See `main`."""
    serving = serving or Serving(port=0)
    _, url, _ = demo.launch(
        server_name=serving.host,
        server_port=serving.port or None,
        auth=serving.enter,
        auth_message=serving.greeting,
        root_path=serving.root_path or None,
        inbrowser=open_browser,
        prevent_thread_lock=True,
        share=False,
        quiet=True,
        theme=theme.theme(),
        head=theme.head() + wire.head(),
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        max_file_size=serving.max_upload,
        strict_cors=True,
        state_session_capacity=sessions.CAPACITY,
        _frontend=False,  # no second look at the server, which gives up after three slow seconds
    )
    demo.server.config.timeout_keep_alive = KEEP_ALIVE
    return url


def main(
    serving: Serving | None = None,
    *,
    model: str = FIRST_MODEL,
    data: str | None = None,
    open_browser: bool = False,
    prevent_thread_lock: bool = False,
) -> gr.Blocks:
    """Serve the app until it is interrupted.

    Args:
        serving: address, who may enter, and where work is kept.
        model: what a new page shows, a name or a path; data: for a model that brings none.
        open_browser: show the page.
        prevent_thread_lock: return at once, for tests and notebooks.
    """
    serving = serving or from_environment()
    demo = build(serving.runs, model=model, data=data, limits=serving.limits)
    url = launch(demo, serving, open_browser=open_browser)
    if not prevent_thread_lock:
        console = Console(stderr=True)
        console.print(f"the workbench is open at {url} (Ctrl-C ends it)")
        if serving.code:
            console.print(f"the class enters with any name and the code {serving.code}")
        demo.block_thread()
    return demo


def _secret(folder: Path) -> str:
    """A key of this installation that keeps the browser's store readable after a restart."""
    path = folder / "browser-secret"
    if not path.exists():
        write_bytes(path, secrets.token_hex(16).encode())
        path.chmod(0o600)
    return path.read_text(encoding="utf-8")


def _connect(demo: gr.Blocks, drawn: Page, handlers: Handlers) -> None:
    """Wire components to handlers."""

    def look(question: Any) -> str | None:
        return handlers.look(question)

    def pulse(question: Any) -> str | None:
        return handlers.pulse(question)

    functions, form = [look, pulse], drawn.controls.recipe
    lines = Wire(drawn.key, handlers.packer, drawn.parts, len(drawn.few), form, functions)
    lines.listen(demo.load, handlers.load, form=True, outputs=[drawn.key], first=True, **LIGHT)
    lines.listen(lines.hub.tick, handlers.refresh, form=True, **LIGHT)
    lines.listen(drawn.view.input, handlers.choose_view, [drawn.view], **LAST)
    _connect_files(lines, drawn, handlers)
    _connect_form(lines, drawn, handlers)
    for name, handler in (
        ("open", handlers.select_open),
        ("loaded", handlers.select_open),
        ("tries", handlers.select_open),
        ("export", handlers.select_export),
        ("bits", handlers.select_bits),
        ("compare", handlers.select_compared),
        ("why", handlers.select_why),
        ("survey", handlers.select_survey),
        ("runs", handlers.select),
        ("layers", handlers.select),
    ):
        lines.listen(drawn.pictures[name].select, handler, form=True, **LAST)


def _connect_files(lines: Wire, drawn: Page, handlers: Handlers) -> None:
    """Models and data that are chosen or dropped."""
    controls = drawn.controls
    model: dict[str, Any] = {"preprocess": False, **QUIET}  # an upload is among its choices
    lines.listen(controls.model.input, handlers.choose_model, [controls.model], form=True, **model)
    for button, handler in (
        (controls.upload_model, handlers.upload_model),
        (controls.upload_data, handlers.upload_data),
        (controls.upload_recipe, handlers.upload_recipe),
        (controls.upload_teacher, handlers.upload_teacher),
    ):
        lines.listen(button.upload, handler, [button], form=True, **QUIET)
    for zone, handler in (
        (drawn.drop_model, handlers.drop_model),
        (drawn.drop_data, handlers.drop_data),
    ):
        lines.listen(zone.upload, handler, [zone], form=True, outputs=[zone], **QUIET)


def _connect_form(lines: Wire, drawn: Page, handlers: Handlers) -> None:
    """The recipe, and what is done with it."""
    controls = drawn.controls
    plain = [component.input for component in controls.plain]
    lines.say([*plain, controls.more.blur], handlers.change_form, **LAST)
    for component, kinds in controls.choices.items():
        lines.say([component.input], handlers.choose(kinds), form=True, **LAST)
    lines.say([controls.run.click], handlers.run, **QUIET)
    lines.listen(controls.stop.click, handlers.stop, **QUIET)
    lines.listen(controls.resume.click, handlers.resume, **QUIET)
    lines.say([controls.code.click], handlers.show_code, **LIGHT)
