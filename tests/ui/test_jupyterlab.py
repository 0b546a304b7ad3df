"""Every widget in a real JupyterLab: drawn, clicked, led by Python, run again, and after a restart.

One notebook is opened once; the tests go through it in order. The page must say nothing on its
console and ask nothing of another machine.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.ui.lab import Lab, Notebook, serving, written
from tests.conftest import Watch
from workbench.session.execute import Extent
from workbench.session.session import open as open_session

if TYPE_CHECKING:
    from playwright.sync_api import Browser

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

#: a widget whose module takes longer to load than anywidget waits, as on a busy computer
LATE = """
from workbench.ui.widgets import DemoWidget
from workbench.ui.widgets.base import pictures
class Late(DemoWidget):
    _esm = "await new Promise((done) => setTimeout(done, 2500));" \
        + pictures(("_view", "lesson", "mountLesson"))
demo = Late("number_line")
demo
"""


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
) -> Iterator[Lab]:
    """JupyterLab on a folder with the notebook."""
    folder = tmp_path_factory.mktemp("notebook")
    values = {"MODEL": str(tiny.model), "DATA": str(tiny.data), **runs}
    begin = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    begin += "from pathlib import Path\nJOB = Path('job')\n"
    written(folder / "show.ipynb", (begin + CELLS).split("---"))
    written(folder / "late.ipynb", [LATE])
    with serving(folder) as server:
        yield server


@pytest.fixture(scope="module")
def watch() -> Watch:
    """What the page says on its console and asks of others."""
    return Watch()


@pytest.fixture(scope="module")
def notebook(browser: Browser, lab: Lab, watch: Watch) -> Iterator[Notebook]:
    """The notebook in a page, with all its cells run."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    context = browser.new_context(viewport={"width": 1500, "height": 1000})
    page = context.new_page()
    watch.attach(page)
    page.set_default_timeout(PATIENCE)
    found = Notebook.opened(page, lab.url("show.ipynb"))
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
    notebook.restart()
    notebook.run()
    test_every_widget_is_drawn_twice(notebook)
    assert notebook.ask("print(job, signals.state, signals.fraction)") == "job done 1.0"
    row = notebook.first("signals", ".wb-signal-row[data-name]").last
    name = row.get_attribute("data-name")
    row.click()
    notebook.until("repr(signals.selected)", repr(name))


def test_the_saved_notebook_has_pictures_for_viewers_without_widgets(
    notebook: Notebook, lab: Lab
) -> None:
    notebook.save()
    saved = json.loads((lab.folder / "show.ipynb").read_text(encoding="utf-8"))
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


def test_a_module_that_loads_late_hears_python_all_the_same(notebook: Notebook, lab: Lab) -> None:
    from playwright.sync_api import expect

    late = Notebook.opened(notebook.page, lab.url("late.ipynb"))
    late.run()
    late.first("demo", ".wb-lesson-question .wb-link").first.click()
    late.until("demo._sitting.revealed", "True")
    expect(late.first("demo", ".wb-lesson-question")).to_contain_text("Answer")
    late.ask("demo.options = {'value': 0.25}")
    expect(late.first("demo", "input[type=range]").first).to_have_value("0.25")


def test_the_page_was_quiet(watch: Watch) -> None:
    watch.assert_clean()
