"""The browser half: its arithmetic equals torch's, and the report works from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.maths.grid import Grid, affine_range, dequantize, quantize
from workbench.views import layers, tuning
from workbench.views import report as page_of
from workbench.views.assets import script

pytestmark = pytest.mark.browser

CASES = 1000
VALUES = 40


def case(index: int) -> dict[str, Any]:
    """Random values with ties, edges and zeros on a random grid."""
    generator = torch.Generator().manual_seed(index)
    bits = int(torch.randint(1, 9, (1,), generator=generator))
    signed = bool(torch.randint(0, 2, (1,), generator=generator)) and bits > 1
    symmetric = signed and bool(torch.randint(0, 2, (1,), generator=generator))
    grid = Grid(bits, signed, symmetric)
    spread = 10.0 ** float(torch.randint(-6, 5, (1,), generator=generator))
    x = torch.randn(VALUES, generator=generator) * spread
    low, high = x.min() * 0.8, x.max() * 0.7
    scale, zero = affine_range(low, high, grid)
    codes = torch.arange(10) + grid.qmin
    ties = (codes.float() - zero + 0.5) * scale
    x = torch.cat([x, ties, torch.zeros(1), -torch.zeros(1)])
    found = quantize(x, scale, zero, grid)
    return {
        "grid": {
            "qmin": grid.qmin, "qmax": grid.qmax, "signed": signed, "symmetric": symmetric,
        },
        "low": float(low), "high": float(high), "x": x.tolist(),
        "scale": float(scale), "zero": float(zero), "codes": found.tolist(),
        "values": dequantize(found, scale, zero, grid).tolist(),
    }  # fmt: skip


COMPARE = """
(cases) => {
  const wrong = [];
  cases.forEach((c, k) => {
    const made = affineRange(c.low, c.high, c.grid);
    const same = made.scale === c.scale && made.zero === c.zero;
    if (!same) wrong.push([k, "range", made, c.scale, c.zero]);
    c.x.forEach((x, i) => {
      const code = quantizeValue(x, c.scale, c.zero, c.grid);
      if (code !== c.codes[i]) wrong.push([k, "code", x, code, c.codes[i]]);
      else if (dequantizeCode(code, c.scale, c.zero) !== c.values[i]) wrong.push([k, "value", x]);
    });
  });
  return wrong.slice(0, 5);
}
"""


def test_quantization_in_the_browser_equals_torch(page):
    page.goto("about:blank")
    page.add_script_tag(content=script("quantize"))
    assert page.evaluate(COMPARE, [case(k) for k in range(CASES)]) == []


def test_a_quantized_histogram_knows_the_sqnr(page, examples):
    from workbench.maths.metrics import sqnr_db
    from workbench.views import histogram

    weight = examples.weight((24, 16, 3, 3), 1)
    frozen = examples.frozen(weight, 4)
    from workbench.analysis.distributions import weight_record

    view = histogram.view(weight_record(weight, frozen), title="w", site="w")
    page.goto("about:blank")
    page.add_script_tag(content=script("quantize"))
    found = page.evaluate("(h) => requantize(h, h.scale, h.zero, h.grid)", view)
    assert found["sqnr"] == pytest.approx(float(sqnr_db(weight, frozen.values())), abs=0.05)


def test_report_opens_from_a_file(page, watch, report, tmp_path: Path):
    events = [{"kind": "step", "site": "stem", "values": {"loss": 1 / (k + 1)}} for k in range(20)]
    path = page_of.write(report, tmp_path / "report.html", events)
    page.goto(path.as_uri())
    rows = page.locator(".wb-list .wb-row")
    assert rows.count() == len(report["layers"])
    rows.nth(4).click()
    name = rows.nth(4).get_attribute("data-name")
    assert page.locator(".wb-crumb .wb-name").get_attribute("title") == name
    page.locator(".wb-list").press("ArrowDown")
    assert page.locator(".wb-crumb .wb-name").get_attribute("title") != name
    assert page.locator(".wb-curve").count() == 1
    watch.assert_clean()


def test_dragging_a_handle_changes_the_numbers_at_once(page, report, tmp_path: Path):
    page.goto(page_of.write(report, tmp_path / "report.html").as_uri())
    panel = page.locator(".wb-panel").first
    before = panel.locator(".wb-readout").inner_text()
    handle = panel.locator(".wb-handle").last.locator("circle")
    box = handle.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] - 60, box["y"] + 5)
    page.mouse.up()
    after = panel.locator(".wb-readout").inner_text()
    assert after != before
    panel.get_by_role("button", name="reset").click()
    assert panel.locator(".wb-readout").inner_text() == before
    panel.locator(".wb-handle").first.press("ArrowRight")
    assert panel.locator(".wb-readout").inner_text() != before


HOSTILE = (
    "<img src=x onerror=window.hit=1>",
    "${window.hit=1}",
    "</script><script>window.hit=1//",
    "{{hit}}",
)


def test_hostile_names_stay_text(page, report, tmp_path: Path):
    text = json.dumps(report)
    names = [record["layer"] for record in report["layers"]]
    for name, bad in zip(names, HOSTILE, strict=False):
        text = text.replace(json.dumps(name), json.dumps(bad))
    changed = json.loads(text)
    changed["model"]["name"] = HOSTILE[0]
    page.goto(page_of.write(changed, tmp_path / "report.html").as_uri())
    for bad in HOSTILE:
        row = page.locator(f".wb-row[data-name={json.dumps(bad)}]")
        row.click()
        assert row.locator(".wb-name").text_content() == bad
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0


MOUNT = """
([mount, model]) => {
  window.sent = [];
  const draw = [];
  window.show = (next) => { model = next; draw.forEach((f) => f()); };
  const place = document.body.appendChild(document.createElement("div"));
  const mounts = { layers: mountLayers, tune: mountTune };
  const send = (message) => window.sent.push(message);
  mounts[mount](place, { get: () => model, on: (f) => draw.push(f), send });
  for (const row of document.querySelectorAll("[data-name]")) row.old = true;
}
"""
OLD = "[...document.querySelectorAll('[data-name]')].filter((row) => row.old).length"


def mounted(page, name: str, model: dict[str, Any]) -> None:
    page.goto("about:blank")
    page.add_script_tag(content=script("layers", "tune"))
    page.evaluate(MOUNT, [name, model])


def test_another_layer_does_not_draw_the_table_anew(page, report):
    table = layers.table(report["layers"])
    names = table["network"]
    mounted(page, "layers", {**table, "selected": names[0]})
    page.evaluate("(next) => show(next)", {**table, "selected": names[2]})
    chosen = page.locator(".wb-row[aria-selected=true]")
    assert chosen.get_attribute("data-name") == names[2]
    assert page.evaluate(OLD) == len(names)
    page.add_style_tag(content=".wb-list { height: 60px; overflow: auto; position: relative }")
    page.evaluate("(next) => show(next)", {**table, "selected": table["order"]["weights"][-1]})
    assert page.locator(".wb-list").evaluate("(it) => it.scrollTop") > 0
    page.evaluate("(next) => show(next)", layers.table(report["layers"][:3], selected=names[1]))
    assert page.locator(".wb-list .wb-row").count() == 3
    assert page.evaluate(OLD) == 0


def tuned(selected: str, **bits: int) -> dict[str, Any]:
    rows = [
        {"layer": name, "op": "Conv", "parameters": 8, "tuned": False, "bits": bits.get(name, 4),
         "method": "nearest", "calibrator": "mse", "share": 1.0, "sqnr_db": 20.0, "usual_db": 20.0}
        for name in "abc"
    ]  # fmt: skip
    choices = {"bits": range(2, 9), "method": ["nearest"], "calibrator": ["mse"]}
    return tuning.tuning(rows, selected, choices)


def test_a_tuned_layer_draws_its_row_alone_and_a_refused_choice_is_put_back(page):
    mounted(page, "tune", tuned("a"))
    bits = page.locator("[data-name=b] [data-key=bits]")
    bits.select_option("2")
    assert page.evaluate("sent.at(-1)") == {"kind": "tune", "layer": "b", "key": "bits", "value": 2}
    page.evaluate("(next) => show(next)", tuned("a"))  # as if it was refused
    assert bits.input_value() == "4"
    bits.focus()
    page.evaluate("(next) => show(next)", tuned("a", b=3))
    assert bits.input_value() == "3"
    assert bits.evaluate("(it) => it === document.activeElement")
    assert page.evaluate(OLD) == 2  # a and c
