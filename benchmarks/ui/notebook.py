"""Each widget in a real JupyterLab: how long the eye waits for what the hand does in a cell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ui.lab import Notebook, serving, written
from benchmarks.ui.person import chromium, summary

MODEL = "digits-mobilenet"
_PATIENCE = 600.0

BEGIN = f"""
import workbench
from workbench import demo, widgets
from workbench.session.execute import Extent
session = workbench.open({MODEL!r})
short = Extent(naive=False, layer_examples=64, verify_examples=16, latency=False)
one, two = (session.quantize(b, 8, m, out=m, extent=short) for b, m in ((3, "rtn"), (2, "gram")))
def revealed(lesson):
    lesson.reveal()
    return lesson
"""
#: what is measured, a cell for each
CELLS = {
    "layers": "widgets.layers(one)",
    "graph": "widgets.graph(one)",
    "histogram": "widgets.histogram(session, bits=3)",
    "tune": "widgets.tune(session)",
    "signals": "widgets.signals(two)",
    "compare": "widgets.compare(one, two)",
    "pareto": "widgets.pareto(session, points=5)",
    "verify": "widgets.verify(two, examples=16)",
    "survey": "widgets.survey()",
    "number_line": "revealed(demo.number_line())",
    "calibration_lab": "revealed(demo.calibration_lab())",
    "granularity": "revealed(demo.granularity())",
}


@dataclass(frozen=True)
class Deed:
    """What a hand does in a widget, and what the eye waits for.

    Attributes:
        widget: of which cell.
        words: for the table.
        does: JavaScript of the k-th time, `view` being the widget's element.
        sees: JavaScript whose value changes with the picture.
        times: it is done.
    """

    widget: str
    words: str
    does: str
    sees: str
    times: int = 20


_TEXT = "view.querySelector('{}')?.textContent"
_NTH = "const all = view.querySelectorAll('{}'); all[(5 * k + 1) % all.length]"
_NTH += ".dispatchEvent(new MouseEvent('click', {{ bubbles: true }}));"
_ENTER = """const all = view.querySelectorAll('{}'), one = all[(5 * k + 1) % all.length];
  one.setAttribute("tabindex", 0); one.focus({{ preventScroll: true }});
  one.dispatchEvent(new KeyboardEvent("keydown", {{ key: "Enter", bubbles: true }}));"""
_KEY = """const plot = view.querySelector('.wb-readout').parentElement;
  const end = [...plot.querySelectorAll('.wb-handle')].at(-1);
  const key = k % 20 < 10 ? "ArrowLeft" : "ArrowRight";
  end.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));"""
_PICK = """const all = view.querySelector('{}'), n = all.options.length;
  all.selectedIndex = (all.selectedIndex + 1) % n;
  all.dispatchEvent(new Event("change", {{ bubbles: true }}));"""
_SLIDE = """const slider = view.querySelector('{}'), step = Number(slider.step) || 1;
  const up = Number(slider.value) + step <= Number(slider.max) && (k % 4 < 2);
  slider.value = Number(slider.value) + (up ? step : -step);
  const tell = (kind) => slider.dispatchEvent(new Event(kind, {{ bubbles: true }}));
  tell("input"); tell("change");"""

DEEDS = (
    Deed("layers", "another layer", _NTH.format(".wb-list .wb-row"),
         "view.querySelector('.wb-crumb .wb-name')?.title"),
    Deed("layers", "end of the grid, by key", _KEY, _TEXT.format(".wb-readout")),
    Deed("graph", "another layer", _ENTER.format(".wb-graph-layer"),
         "view.querySelector('.wb-graph-layer[aria-pressed=true]')?.dataset.name"),
    Deed("graph", "a block is opened or closed",
         _ENTER.format(".wb-graph-block"), "view.querySelectorAll('.wb-graph-node').length"),
    Deed("histogram", "end of the grid, by key", _KEY, _TEXT.format(".wb-readout")),
    Deed("histogram", "other bits", _PICK.format("select[aria-label=Bits]"),
         _TEXT.format(".wb-plot-head .wb-dim")),
    Deed("histogram", "another layer", _PICK.format("select[aria-label=Layer]"),
         _TEXT.format(".wb-plot-head .wb-dim") + " + " + _TEXT.format(".wb-readout")),
    Deed("tune", "other bits of a layer", _PICK.format("select[data-key=bits]"),
         "view.querySelectorAll('.wb-tune-row[data-name] .wb-num')[1].textContent"),
    Deed("tune", "end of the grid, by key", _KEY, _TEXT.format(".wb-readout")),
    Deed("tune", "another layer", _NTH.format(".wb-tune-name"),
         _TEXT.format(".wb-histogram h3")),
    Deed("signals", "another unit", _NTH.format(".wb-signal-row[data-name]"),
         _TEXT.format(".wb-signal-detail h2")),
    Deed("compare", "another part", _NTH.format(".wb-part:not([aria-selected=true])"),
         "view.querySelector('.wb-part[aria-selected=true]').dataset.key +"
         + _TEXT.format(".wb-study-part")),
    Deed("pareto", "fewer or more bits", _SLIDE.format(".wb-bits-slider"),
         _TEXT.format(".wb-sentence")),
    Deed("verify", "cures are tried: that it is being done",
         "view.querySelector('.wb-study-actions button').click();",
         "Boolean(view.querySelector('.wb-waiting'))", times=7),
    Deed("survey", "another cell", _NTH.format(".wb-survey-cell[data-cell]:not(.wb-survey-none)"),
         _TEXT.format(".wb-survey-side")),
    *(
        Deed(name, "a control", _SLIDE.format("input[type=range]"),
             _TEXT.format(".wb-readings") + " + view.querySelector('.wb-lesson-panels').innerHTML")
        for name in ("number_line", "calibration_lab", "granularity")
    ),
)  # fmt: skip

# From the deed to the next frame in which the picture has changed, inside the page.
_WATCH = """async ([selector, does, sees, times]) => {
  const frame = () => new Promise(requestAnimationFrame), took = [];
  const view = document.querySelector(selector);
  const doing = new Function("view", "k", does), seeing = new Function("view", `return ${sees}`);
  for (let k = 0; k < times; k += 1) {
    while (view.querySelector(".wb-waiting")) await frame();
    const before = seeing(view), began = performance.now();
    doing(view, k);
    while (seeing(view) === before && performance.now() - began < 4000) await frame();
    await frame();
    took.push(performance.now() - began);
    await new Promise((done) => setTimeout(done, 250));
  }
  return took;
}"""


def measure(folder: Path) -> dict[str, Any]:
    """Milliseconds of each deed, by widget and words; `folder` is a new one, for its runs."""
    folder.mkdir(parents=True)
    written(folder / "speed.ipynb", [BEGIN, *CELLS.values()])
    with serving(folder) as lab, chromium() as page:
        page.set_viewport_size({"width": 1500, "height": 1000})
        notebook = Notebook.opened(page, lab.url("speed.ipynb"))
        notebook.run()
        notebook.until("'all ran'", "all ran", seconds=_PATIENCE)
        found = {f"{deed.widget}: {deed.words}": _took(notebook, deed) for deed in DEEDS}
    return {words: summary(took) for words, took in found.items()}


def _took(notebook: Notebook, deed: Deed) -> list[float]:
    index = 1 + list(CELLS).index(deed.widget)
    view = f".jp-Cell[data-windowed-list-index='{index}'] .wb-widget"
    notebook.show(index)
    notebook.page.locator(f"{view} .wb").first.wait_for()
    notebook.page.wait_for_timeout(500)
    return notebook.page.evaluate(_WATCH, [view, deed.does, deed.sees, deed.times])
