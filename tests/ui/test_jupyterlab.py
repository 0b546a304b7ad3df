"""Every widget in a real JupyterLab: drawn, clicked, led by Python, run again, and after a restart.

One notebook is opened once; the tests go through it in order. The page must say nothing on its
console and ask nothing of another machine.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from tests.conftest import Watch
from workbench.session.execute import Extent
from workbench.session.session import open as open_session

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    from tests.ui.conftest import Tiny

pytestmark = [pytest.mark.browser, pytest.mark.slow]

EXTENT = Extent(naive=False, layer_examples=32, verify_examples=16, latency=False)
PATIENCE = 90_000
#: the widgets, by the names that the notebook gives them
SHOWN = ("layers", "graph", "histogram", "tune", "signals", "compare", "pareto", "verify", "demo",
         "survey")  # fmt: skip

CELLS = """
import workbench
from IPython.display import display
from workbench import Run, widgets
from workbench.session.execute import Extent
session = workbench.open(MODEL, data=DATA)
extent = Extent(naive=False, layers=False, verify=False, latency=False)
---
layers = widgets.layers(Run(ONE))
layers
---
graph = widgets.graph(Run(ONE))
graph
---
histogram = widgets.histogram(session, bits=3)
histogram
---
tune = widgets.tune(session, examples=32)
tune
---
job = session.start(session.recipe(3, 8, "gram"), out="job", extent=extent) \
    if not JOB.exists() else "job"
signals = widgets.signals(job)
signals
---
compare = widgets.compare(ONE, TWO)
compare
---
pareto = widgets.pareto(session, points=3)
pareto
---
verify = widgets.verify(Run(TWO), examples=16)
verify
---
demo = workbench.demo.number_line()
demo
---
survey = widgets.survey()
survey
---
display(layers, graph, histogram, tune, signals, compare, pareto, verify, demo, survey)
"""

#: runs code in the notebook's kernel; gives what it printed, or its traceback
ASK = """async (code) => {
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
RUN_ALL = "window.jupyterapp.commands.execute('notebook:run-all-cells')"
RESTART = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"


@dataclass
class Notebook:
    """An open notebook, all cells run."""

    page: Page
    watch: Watch
    path: Path

    def ask(self, code: str) -> str:
        """What the kernel prints."""
        return str(self.page.evaluate(ASK, code)).strip()

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
        self.page.evaluate(RUN_ALL)

    def views(self, name: str) -> Locator:
        """All views of one widget: in its own cell, and in the last one."""
        return self.page.locator(f".wb-widget-{name}")

    def first(self, name: str, inner: str) -> Locator:
        """Parts of the first view."""
        view = self.views(name).first
        view.scroll_into_view_if_needed()
        return view.locator(inner)


@pytest.fixture(scope="module")
def runs(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of two finished runs."""
    session, folder = (
        open_session(tiny.hostile, data=str(tiny.data)),
        tmp_path_factory.mktemp("lab"),
    )
    for name, bits in (("one", 3), ("two", 2)):
        session.quantize(bits, 8, "rtn", out=folder / name, extent=EXTENT)
    return {"ONE": str(folder / "one"), "TWO": str(folder / "two")}


@pytest.fixture(scope="module")
def lab(
    tiny: Tiny, runs: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """JupyterLab on the notebook; its address, and the notebook's path."""
    folder = tmp_path_factory.mktemp("notebook")
    path, token, port = folder / "show.ipynb", secrets.token_hex(8), free_port()
    values = {"MODEL": str(tiny.model), "DATA": str(tiny.data), **runs}
    begin = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    begin += "from pathlib import Path\nJOB = Path('job')\n"
    cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in (begin + CELLS).split("---")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, path)
    homes = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTERLAB_SETTINGS_DIR")
    home = {name: str(folder / ".home" / name) for name in homes}
    quiet = Path(home["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab/apputils-extension"
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
         "--ip=127.0.0.1", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
         "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=",
         f"--ServerApp.root_dir={folder}"],
        env={**os.environ, **home, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/api?token={token}")
        yield f"{address}/lab/tree/show.ipynb?token={token}&reset", path
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def notebook(browser: Browser, lab: tuple[str, Path]) -> Iterator[Notebook]:
    """The notebook in a page, with all its cells run."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    context = browser.new_context(viewport={"width": 1500, "height": 1000})
    page, watch = context.new_page(), Watch()
    watch.attach(page)
    page.set_default_timeout(PATIENCE)
    page.goto(lab[0])
    page.wait_for_function("window.jupyterapp !== undefined")
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
    page.wait_for_function(
        "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    )
    found = Notebook(page, watch, lab[1])
    found.run()
    yield found
    context.close()


def test_every_widget_is_drawn_twice(notebook: Notebook) -> None:
    from playwright.sync_api import expect

    for name in SHOWN:
        expect(notebook.views(name), name).to_have_count(2)
        for view in notebook.views(name).all():
            view.scroll_into_view_if_needed()
            expect(view.locator(".wb").first).to_be_visible()
            expect(view, name).to_contain_text(re.compile(r"\S"))
        if folder := os.environ.get("WORKBENCH_SCREENSHOT"):
            view = notebook.views(name).first
            view.scroll_into_view_if_needed()
            view.screenshot(path=str(Path(folder) / f"{name}.png"))
    assert notebook.page.evaluate("window.hit") is None


def test_what_is_clicked_is_what_python_reads(notebook: Notebook) -> None:
    page = notebook.page
    row = notebook.first("layers", ".wb-list .wb-row").nth(2)
    name = row.get_attribute("data-name")
    row.click()
    notebook.until("repr(layers.selected)", repr(name))
    node = notebook.first("graph", ".wb-graph-layer").first
    name = node.get_attribute("data-name")
    node.click()
    notebook.until("repr(graph.selected)", repr(name))
    notebook.first("histogram", ".wb-handle").last.press("ArrowLeft")
    notebook.until("histogram.clip < 1", "True")
    notebook.first("histogram", ".wb-readout").get_by_text("exact").wait_for()
    notebook.first("tune", "select[data-key=bits]").first.select_option("2")
    notebook.until("tune.tuned['stem']['bits'], session.tuned['stem'].bits", "2 2")
    notebook.until("signals.state", "done")
    row = notebook.first("signals", ".wb-signal-row[data-name]").last
    name = row.get_attribute("data-name")
    row.click()
    notebook.until("repr(signals.selected)", repr(name))
    notebook.first("compare", "[data-key=layers]").click()
    notebook.until("compare.part", "layers")
    before = notebook.ask("print(pareto.chosen)")
    notebook.first("pareto", ".wb-bits-slider").press("Home")
    notebook.until(f"pareto.chosen != {before!r}", "True")
    notebook.first("verify", ".wb-study-actions button").click()
    notebook.until("verify.verification.price is not None", "True")
    notebook.first("demo", ".wb-answer, .wb-lesson-question .wb-link").first.click()
    notebook.until("demo._sitting.revealed", "True")
    notebook.first("survey", '[data-cell="training/features"]').click()
    notebook.until("survey.cell", "training/features")
    notebook.first("survey", ".wb-survey-method[data-name=kd]").click()
    notebook.until("survey.opened.recipe.stages[0].method", "kd")
    notebook.first("survey", "select[data-axis=constraint]").select_option(
        label="8-bit weights and activations"
    )
    notebook.until("survey.advice.constraint", "w8a8")
    assert page.evaluate("window.hit") is None


def test_two_views_stay_in_step_whoever_leads(notebook: Notebook) -> None:
    from playwright.sync_api import expect

    for view in notebook.views("tune").all():  # after the click of the test before
        expect(view.locator("select[data-key=bits]").first).to_have_value("2")
    for view in notebook.views("compare").all():
        expect(view.locator("[data-key=layers]")).to_have_attribute("aria-selected", "true")
    name = notebook.ask("layers.selected = layers.names[-1]; print(layers.selected)")
    for view in notebook.views("layers").all():
        chosen = view.locator(".wb-list .wb-row[aria-selected=true]")
        expect(chosen).to_have_attribute("data-name", name)
    notebook.ask("histogram.layer = 'head'; histogram.clip = 0.5")
    for view in notebook.views("histogram").all():
        expect(view.locator(".wb-readout")).to_contain_text("step ×0.50")
    last = notebook.ask("pareto.chosen = pareto._keys[-1]; print(len(pareto._keys) - 1)")
    for view in notebook.views("pareto").all():
        expect(view.locator(".wb-bits-slider")).to_have_value(last)
    notebook.ask("signals.selected = signals.names[0]")
    for view in notebook.views("signals").all():
        expect(view.locator(".wb-signal-row[aria-selected=true]")).to_have_count(1)
    notebook.ask("survey.model = 'vit'")
    for view in notebook.views("survey").all():
        expect(view.locator("select[data-axis=model]")).to_have_value("vision transformer")
    second = notebook.views("graph").last
    second.scroll_into_view_if_needed()
    node = second.locator(".wb-graph-layer").last
    name = str(node.get_attribute("data-name"))
    node.click()
    pressed = notebook.views("graph").first.locator(".wb-graph-layer[aria-pressed=true]")
    expect(pressed).to_have_attribute("data-name", name)


def test_everything_survives_a_second_run(notebook: Notebook) -> None:
    notebook.run()
    test_every_widget_is_drawn_twice(notebook)
    row = notebook.first("layers", ".wb-list .wb-row").nth(1)
    row.click()
    notebook.until("repr(layers.selected)", repr(row.get_attribute("data-name")))


def test_a_new_kernel_finds_the_run_again(notebook: Notebook) -> None:
    notebook.page.evaluate(RESTART)
    notebook.run()
    test_every_widget_is_drawn_twice(notebook)
    assert notebook.ask("print(job, signals.state, signals.fraction)") == "job done 1.0"
    row = notebook.first("signals", ".wb-signal-row[data-name]").last
    name = row.get_attribute("data-name")
    row.click()
    notebook.until("repr(signals.selected)", repr(name))


def test_the_saved_notebook_has_pictures_for_viewers_without_widgets(notebook: Notebook) -> None:
    notebook.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    saved = json.loads(notebook.path.read_text(encoding="utf-8"))
    found = [
        "".join(output["data"]["text/html"])
        for cell in saved["cells"][1:-1]
        for output in cell["outputs"]
        if "text/html" in output.get("data", {})
    ]
    assert len(found) == len(SHOWN)
    for html in found:
        assert "<svg" in html or "<table" in html
        assert "<img" not in html


def test_the_page_was_quiet(notebook: Notebook) -> None:
    notebook.watch.assert_clean()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(address: str, seconds: float = 90.0) -> None:
    """Until a server answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
        else:
            return
    raise AssertionError("JupyterLab did not answer")
