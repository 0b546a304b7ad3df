"""A real JupyterLab without this machine's settings, and a notebook open in a page of it."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

_ROOT = Path(__file__).resolve().parents[2]
_HOMES = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTERLAB_SETTINGS_DIR")

#: runs code in the notebook's kernel; gives what it printed, or its traceback
_ASK = """async (code) => {
  const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
  const future = kernel.requestExecute({ code, store_history: false });
  let said = "";
  future.onIOPub = ({ header, content }) => {
    if (header.msg_type === "stream") said += content.text;
    if (header.msg_type === "error") said += content.traceback.join("\\n");
  };
  await future.done;
  return said;
}"""
_RUN_ALL = "window.jupyterapp.commands.execute('notebook:run-all-cells')"
_RESTART = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
_SCROLL = "(index) => window.jupyterapp.shell.currentWidget.content.scrollToItem(index, 'start')"
_READY = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


@dataclass(frozen=True)
class Lab:
    """A server: its address, its token, and the folder that it shows."""

    address: str
    token: str
    folder: Path

    def url(self, name: str) -> str:
        """The page with one notebook of the folder."""
        return f"{self.address}/lab/tree/{name}?token={self.token}&reset"


@dataclass
class Notebook:
    """A notebook in a page."""

    page: Page

    @classmethod
    def opened(cls, page: Page, url: str) -> Notebook:
        """Go there and wait for its kernel."""
        page.goto(url)
        page.wait_for_function("window.jupyterapp !== undefined")
        page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
        page.wait_for_function(_READY)
        return cls(page)

    def ask(self, code: str) -> str:
        """What the kernel prints."""
        return str(self.page.evaluate(_ASK, code)).strip()

    def until(self, code: str, wanted: str, seconds: float = 60.0) -> None:
        """Wait until an expression prints what is wanted."""
        end, said = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            said = self.ask(f"print({code})")
            if said == wanted:
                return
            time.sleep(0.1)
        raise AssertionError(f"{code} is {said!r}, not {wanted!r}")

    def run(self) -> None:
        """Run all cells."""
        self.page.evaluate(_RUN_ALL)

    def restart(self) -> None:
        """A new kernel."""
        self.page.evaluate(_RESTART)

    def show(self, index: int) -> None:
        """Scroll to a cell; those far from the screen are not in the page."""
        self.page.evaluate(_SCROLL, index)

    def save(self) -> None:
        """Write the notebook with its outputs."""
        self.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")

    def views(self, name: str) -> Locator:
        """All views of a kind of widget."""
        return self.page.locator(f".wb-widget-{name}")

    def first(self, name: str, inner: str) -> Locator:
        """Parts of the first view."""
        view = self.views(name).first
        view.scroll_into_view_if_needed()
        return view.locator(inner)


def written(path: Path, cells: Sequence[str]) -> Path:
    """A notebook of code cells."""
    code = [nbformat.v4.new_code_cell(cell.strip()) for cell in cells]
    notebook = nbformat.v4.new_notebook(cells=code)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, path)
    return path


@contextmanager
def serving(folder: Path) -> Iterator[Lab]:
    """JupyterLab on a free port of this machine, on a folder."""
    home = {name: str(folder / ".home" / name) for name in _HOMES}
    _keep_quiet(Path(home["JUPYTERLAB_SETTINGS_DIR"]))
    token, port = secrets.token_hex(8), free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
         "--ip=127.0.0.1", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
         "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=",
         f"--ServerApp.root_dir={folder}"],
        env={**os.environ, **home, "PYTHONPATH": str(_ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/api?token={token}")
        yield Lab(address, token, folder)
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _keep_quiet(settings: Path) -> None:
    """It asks nobody for news."""
    folder = settings / "@jupyterlab" / "apputils-extension"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')


def _wait_for(address: str, seconds: float = 90.0) -> None:
    """Until a server answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
        else:
            return
    raise RuntimeError("JupyterLab did not answer")
