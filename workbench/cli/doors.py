"""Commands that list what there is, or open one of the doors."""

from __future__ import annotations

import os
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

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
def open_app(  # noqa: PLR0913 - one option for each choice
    model: Annotated[str, typer.Option(help="To open first.")] = "digits-mobilenet",
    host: Annotated[
        str, typer.Option(help="Address; others than this need --auth or --classroom.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Of the server; 0 takes a free one.")] = 7860,
    auth: Annotated[
        list[str] | None,
        typer.Option(help="NAME:PASSWORD, or a file with one in each line; again for more."),
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(envvar="WORKBENCH_PASSWORD", help="Of the user 'workbench'."),
    ] = None,
    classroom: Annotated[
        bool, typer.Option("--classroom", help="Let anyone in who knows the code of the class.")
    ] = False,
    code: Annotated[
        str, typer.Option(help="Of the class; by default a new one is made and shown.")
    ] = "",
    root_path: Annotated[str, typer.Option(help="Behind a proxy: where the app is.")] = "",
    max_upload: Annotated[str, typer.Option(help="Largest file that is taken.")] = "200mb",
    max_waiting: Annotated[
        int | None,
        typer.Option(help="Jobs of one page that may wait [default: 8; 2 with --classroom]."),
    ] = None,
    max_stored: Annotated[
        str, typer.Option(help="What one page may keep [default: 20gb; 1gb with --classroom].")
    ] = "",
    runs: Annotated[
        Path | None, typer.Option(help="Folder for all that the app keeps [default: cache].")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
    offline_check: Annotated[
        bool,
        typer.Option("--offline-check", help="List what the page asks of other hosts, and end."),
    ] = False,
) -> None:
    """Open the workbench in the browser."""
    door = import_module("workbench.ui.gradio.serving")  # only this door may import gradio
    users = door.users_of(auth or []) | ({door.USER: password} if password else {})
    secret = (code or door.join_code()).upper() if classroom or code else ""
    values = {"host": host, "port": port, "users": users, "code": secret, "runs": runs}
    values |= {"max_waiting": max_waiting, "max_stored": max_stored}
    serving = door.serving(**values, root_path=root_path, max_upload=max_upload)
    _serve(serving, model, browser=browser, check=offline_check)


def _serve(serving: Any, model: str, *, browser: bool, check: bool) -> None:
    """Serve, or only look at the page; what cannot be is refused before the slow start."""
    from workbench.session import zoo

    if not Path(model).is_file():
        zoo.find(model)
    if serving.port:
        _require_free(serving.host, serving.port)
    main = import_module("workbench.ui.gradio.app").main
    if check:
        _check_offline(main(serving, model=model, prevent_thread_lock=True))
    else:
        main(serving, model=model, open_browser=browser)


def _check_offline(demo: Any) -> None:
    """Say what the page of a server asks of others; exit code 1 if anything."""
    look = import_module("workbench.ui.gradio.offline").look
    try:
        found = look(demo.local_url)
    finally:
        demo.close()
    say(f"{found.own} requests to the app, {len(found.others)} to others")
    for address in found.others:
        output.print(address, highlight=False, soft_wrap=True)
    if found.others:
        raise typer.Exit(1)


@app.command()
def lab() -> None:
    """Open the lessons in JupyterLab."""
    folder = _notebooks()
    say(f"opening {folder}")
    index = folder / "index.ipynb"
    first = index if index.is_file() else folder
    os.execv(sys.executable, [sys.executable, "-m", "jupyter", "lab", str(first)])


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
