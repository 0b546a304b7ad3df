"""Every demo in a browser: it draws Python's numbers, and asks for what is possible."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import pytest

from workbench.lessons.registry import DEMOS
from workbench.lessons.sitting import Sitting
from workbench.views.assets import script, style
from workbench.views.lesson import view

pytestmark = pytest.mark.browser

PIXEL = 1.1  # paths are written with one decimal, and the least bar is one pixel high

MOUNT = """
(first) => {
  const box = document.createElement("div");
  box.style.height = "880px";
  document.body.replaceChildren(box);
  const held = { model: first, sent: [], draw: () => {} };
  window.held = held;
  mountLesson(box, { get: () => held.model, on: (f) => { held.draw = f; },
                     send: (message) => { held.sent.push(message); } });
  return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}
"""
SHOWN = """
() => {
  const all = (at, where) => [...(where || document).querySelectorAll(at)];
  const words = (at, where) => all(at, where).map((one) => one.textContent);
  const numbers = (one, ...keys) => keys.map((key) => Number(one.getAttribute(key)));
  return {
    ask: words(".wb-ask")[0],
    choices: words(".wb-answer"),
    verdict: words(".wb-lesson-verdict").join(),
    readings: all(".wb-reading").map((one) => words("span, b", one)),
    why: words(".wb-lesson-why p"),
    code: words(".wb-lesson-code pre").join(),
    panels: all(".wb-lesson-panels > .wb-panel").map((panel) => ({
      title: words("h3", panel)[0],
      svg: all("svg.wb-svg", panel).map((one) => one.outerHTML).join(),
      lines: all(".wb-panel-line", panel).map((one) => one.getAttribute("d")),
      dots: all(".wb-panel-dot", panel).map((one) => numbers(one, "cx", "cy")),
      bars: all(".wb-panel-bar", panel).map((one) => numbers(one, "y", "height")),
      levels: all(".wb-panel-level", panel).map((one) => Number(one.getAttribute("x1"))),
      cells: words(".wb-cell-box", panel),
      rows: all("tbody tr", panel).map((row) => words("td", row)),
    })),
  };
}
"""
ASKED = """
(low) => {
  const asked = [];
  const take = () => { asked.push(...held.sent.splice(0)); held.draw(); };
  for (const one of document.querySelectorAll("input[type=range]")) {
    one.value = low ? one.min : one.max;
    one.dispatchEvent(new Event("input"));
    take();
  }
  for (const one of document.querySelectorAll(".wb-lesson-controls select")) {
    one.selectedIndex = low ? 0 : one.options.length - 1;
    one.dispatchEvent(new Event("change"));
    take();
  }
  const ends = low ? ":first-child" : ":last-child";
  const buttons = `.wb-lesson-controls .wb-seg${ends}, .wb-flag input`;
  for (const one of document.querySelectorAll(buttons)) {
    one.click();
    take();
  }
  return asked;
}
"""


@pytest.fixture
def mounted(page: Any, request: pytest.FixtureRequest) -> tuple[Any, dict[str, Any]]:
    """A page with the demo of this test, revealed, and its view-model."""
    model = view(Sitting(request.param, revealed=True))
    page.goto("about:blank")
    page.add_style_tag(content=style())
    page.add_script_tag(content=script("lesson"))
    page.evaluate(MOUNT, model)
    return page, model


every = pytest.mark.parametrize("mounted", DEMOS.names(), indirect=True)


def assert_placed(axis: dict[str, Any], data: Sequence[float], pixels: Sequence[float]) -> None:
    """Within the ends of the axis, pixels are an affine picture of the data, or its logarithm."""
    low, high = (-math.inf if axis["low"] is None else axis["low"],
                 math.inf if axis["high"] is None else axis["high"])  # fmt: skip
    pairs = [(v, at) for v, at in zip(data, pixels, strict=True) if low <= v <= high]
    if not pairs:
        return
    values = [math.log(v) if axis["log"] else v for v, _ in pairs]
    (least, first), (most, last) = (
        (end(values), pairs[values.index(end(values))][1]) for end in (min, max)
    )
    for value, (_, at) in zip(values, pairs, strict=True):
        share = (value - least) / (most - least) if most > least else 0.0
        assert abs(first + share * (last - first) - at) <= PIXEL


def check_lines(panel: dict[str, Any], shown: dict[str, Any]) -> None:
    """Curves and dots stand where their numbers say."""
    lines, dots = iter(shown["lines"]), iter(shown["dots"])
    for series in panel["series"]:
        known = [
            (x, y)
            for x, y in zip(series["x"], series["y"], strict=True)
            if y is not None and (y > 0 or not panel["y"]["log"])
        ]
        if series["style"] == "dots":
            places = [next(dots) for _ in known]
        else:
            path = re.findall(r"[ML](\S+) ([^ML]+)", next(lines))
            places = [(float(x), float(y)) for x, y in path]
        if series["style"] == "step":
            places = places[::2]
        for axis, key in enumerate("xy"):
            data, found = [each[axis] for each in known], [place[axis] for place in places]
            assert_placed(panel[key], data, found)


def check_bars(panel: dict[str, Any], shown: dict[str, Any]) -> None:
    """Bars end where their numbers say."""
    for group in panel["groups"]:
        bars = shown["bars"][: sum(value is not None for value in group[2])]
        del shown["bars"][: len(bars)]
        values = [value for value in group[2] if value is not None]
        pairs = [(v, y) for v, (y, _) in zip(values, bars, strict=True) if v > 0]
        assert_placed(panel["y"], [v for v, _ in pairs], [y for _, y in pairs])
    assert not shown["bars"]


def check_panel(panel: dict[str, Any], shown: dict[str, Any]) -> None:
    assert shown["title"] == panel["title"]
    assert not re.search(r"NaN|Infinity|undefined|null", shown["svg"])
    kind = panel["kind"]
    if kind in ("lines", "bars", "levels"):
        assert shown["svg"]
    if kind == "lines":
        check_lines(panel, shown)
    elif kind == "bars":
        check_bars(panel, shown)
    elif kind == "levels":
        assert_placed(panel["axis"], [level["at"] for level in panel["levels"]], shown["levels"])
    elif kind == "cells":
        texts = [text for row in panel["texts"] for text in row]
        assert shown["cells"] == (texts or [""] * sum(map(len, panel["values"])))
    else:
        assert kind == "table"
        assert shown["rows"] == [list(row) for row in panel["rows"]]


@every
def test_the_browser_shows_what_python_computed(mounted: tuple[Any, dict[str, Any]]):
    page, model = mounted
    shown = page.evaluate(SHOWN)
    assert shown["ask"] == model["question"]["text"]
    assert shown["choices"] == list(model["question"]["choices"])
    assert model["question"]["answer"] in shown["verdict"]
    assert shown["why"] == model["explanation"]
    assert shown["code"] == model["code"]
    said = [f"{r['text']} {r['unit']}" if r["unit"] else r["text"] for r in model["readings"]]
    labels = [reading["label"] for reading in model["readings"]]
    assert shown["readings"] == [list(pair) for pair in zip(labels, said, strict=True)]
    for panel, drawn in zip(model["panels"], shown["panels"], strict=True):
        check_panel(panel, drawn)


@every
def test_what_controls_ask_for_is_possible(mounted: tuple[Any, dict[str, Any]]):
    page, model = mounted
    visible = [control for control in model["controls"] if not control["hidden"]]
    for low in (True, False):
        asked = page.evaluate(ASKED, low)
        assert [each["kind"] for each in asked] == ["set"] * len(visible)
        for message in asked:
            assert Sitting(model["name"]).after(message).problem == ""
        given = {each["name"]: each["value"] for each in asked}
        for control in visible:
            end = control["minimum" if low else "maximum"]
            if control["kind"] in ("integer", "number"):
                assert given[control["name"]] == pytest.approx(end, rel=1e-3)
