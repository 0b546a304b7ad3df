"""Commands that list what there is, or open one of the doors."""

from __future__ import annotations

import os
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from workbench.cli.console import AsJson, app, emit, output, say
from workbench.foundation.errors import WorkbenchError


def _show_version(wanted: bool) -> None:
    if wanted:
        from workbench.session.version import VERSION

        output.print(VERSION, highlight=False)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version."),
    ] = False,
) -> None:
    """Learning-based quantization: from a float model to a proven low-bit ONNX file."""


@app.command()
def version(as_json: AsJson = False) -> None:
    """The version of this installation."""
    from workbench.session.version import VERSION

    if as_json:
        emit({"version": VERSION})
    else:
        output.print(VERSION, highlight=False)


@app.command(name="app")
def open_app(
    model: Annotated[str, typer.Option(help="To open first.")] = "digits-mobilenet",
    host: Annotated[str, typer.Option(help="Address; others than this need a password.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Of the server.")] = 7860,
    password: Annotated[
        str | None, typer.Option(envvar="WORKBENCH_PASSWORD", help="Asked of every visitor.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Open the workbench in the browser."""
    from workbench.session import zoo

    if not Path(model).is_file():
        zoo.find(model)
    _require_free(host, port)
    main = import_module("workbench.ui.gradio.app").main  # only this door may import gradio
    main(host, port, model=model, password=password, open_browser=browser)


@app.command()
def lab() -> None:
    """Open the lessons in JupyterLab."""
    folder = _notebooks()
    say(f"opening {folder}")
    os.execv(sys.executable, [sys.executable, "-m", "jupyter", "lab", str(folder)])


def _require_free(host: str, port: int) -> None:
    """Refuse a port that something else listens on, before the slow start."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError):
            raise WorkbenchError(f"port '{port}' is taken; give another with --port") from None


def _notebooks() -> Path:
    here = Path(__file__).resolve().parents[2] / "notebooks"
    for folder in (here, Path.cwd() / "notebooks"):
        if folder.is_dir():
            return folder
    raise WorkbenchError(
        "the lessons are not here; run this in a checkout, or in a folder with 'notebooks' in it"
    )
