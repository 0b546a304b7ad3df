"""One self-contained HTML file: the same pictures as in the app, offline, from `file://`.

All data lie in one JSON block that is read with `JSON.parse`; names enter the page as text only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.views import inspector, layers, progress, signals, summary, verification
from workbench.views.assets import script, style

Record = Mapping[str, Any]

PICTURES = ("summary", "layers", "inspector", "curves", "signals")

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,"><title>Quantization report</title>
<style>
{style}
{page_style}
</style></head>
<body class="wb-theme">
<header><h1><svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><rect x="1" y="1" \
width="14" height="14" rx="3" fill="none" stroke="currentColor" stroke-width="1.6"/><path \
d="M2 2h6v12H2z" fill="currentColor"/></svg> Workbench <span id="model"></span></h1>\
<div id="scores"></div></header>
<main><section id="layers"></section><section id="inspector"></section>
<section id="verdict"></section><section id="curves"></section>
<section id="signals"></section>
<section id="recipe"><h2>Recipe</h2><pre></pre></section></main>
<script type="application/json" id="data">{data}</script>
<script>
(() => {{
{script}
{wiring}
}})();
</script></body></html>
"""

_STYLE = """
body{margin:0;background:var(--ground);color:var(--ink);color-scheme:light dark;\
font:13px/1.45 Inter,system-ui,"Segoe UI",Roboto,sans-serif}
header{display:flex;gap:24px;align-items:center;justify-content:space-between;padding:10px 18px;\
background:var(--card);border-bottom:1px solid var(--line);flex-wrap:wrap}
h1{font-size:15px;margin:0;display:flex;gap:8px;align-items:center}\
h1 span{font-weight:400;color:var(--dim)}
main{display:grid;grid-template-columns:360px minmax(0,1fr);gap:12px;padding:12px;\
max-width:1500px;margin:auto}
main>section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px;\
min-width:0}
#layers,#inspector{height:640px}#verdict,#curves{height:196px}#signals{height:560px}\
#signals,#recipe{grid-column:1/-1}#signals:not(:has(.wb-signal-main)){display:none}
#recipe h2{font-size:12px;margin:0}#recipe pre{margin:8px 0 0;font:12px/1.5 ui-monospace,Menlo,\
monospace;overflow:auto}
@media (max-width:900px){main{grid-template-columns:minmax(0,1fr)}}
"""

_WIRING = """
const data = JSON.parse(document.getElementById("data").textContent);
const listeners = new Set();
let current = data.layers.selected;
const view = (get) => ({
  get, on: (f) => listeners.add(f),
  send: (message) => {
    if (message.kind !== "layer" || !(message.layer in data.details)) return undefined;
    current = message.layer;
    data.layers.selected = current;
    listeners.forEach((f) => f());
    return undefined;
  },
});
const at = (id) => document.getElementById(id);
const detail = () => data.details[current] &&
  {...data.details[current], network: {...data.network, selected: current}};
followScheme(document.body);
at("model").textContent = data.model;
at("recipe").querySelector("pre").textContent = data.recipe;
mountScores(at("scores"), view(() => data.scores));
mountLayers(at("layers"), view(() => data.layers));
mountInspector(at("inspector"), view(detail));
mountVerdict(at("verdict"), view(() => data.verdict));
mountCurves(at("curves"), view(() => data.curves));
mountSignals(at("signals"), view(() => data.signals));
"""


def write(report: Record, path: str | Path, events: Sequence[Record] | None = None) -> Path:
    """Write the page.

    Args:
        report: as a run leaves it in `report.json`, with `histograms`.
        path: of the HTML file.
        events: of the run, for the learning curves.
    """
    path = Path(path)
    path.write_text(html(report, events), encoding="utf-8")
    return path


def html(report: Record, events: Sequence[Record] | None = None) -> str:
    """The page as text."""
    return _PAGE.format(
        style=style(),
        page_style=_STYLE,
        data=embed(view(report, events or [])),
        script=script(*PICTURES),
        wiring=_WIRING,
    )


def view(report: Record, events: Sequence[Record]) -> dict[str, Any]:
    """All view-models of the page."""
    records = report.get("layers") or []
    name = str((report.get("model") or {}).get("name", "model"))
    table = layers.table(records)
    details = {str(item["layer"]): _detail(name, report, str(item["layer"])) for item in records}
    return {
        "model": name,
        "scores": summary.scores(report),
        "layers": table,
        "details": details,
        "network": inspector.network(records, "", report.get("naive_layers") or ())
        if records
        else None,
        "verdict": verification.verdict(report.get("verification"), report),
        "curves": progress.learning(events, None, "done"),
        "signals": signals.signals(events, None, "done"),
        "recipe": str(report.get("recipe", "")),
    }


def embed(value: Any) -> str:
    """JSON that is safe inside a `<script>` element, whatever names it holds."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _detail(name: str, report: Record, layer: str) -> dict[str, Any]:
    found = inspector.inspector(name, report["layers"], report.get("histograms") or {}, layer)
    found.pop("network", None)
    for key in ("weights", "activations"):
        found[key].pop("channels", None)  # one channel alone needs the engine
    if found["channels"]:
        found["channels"]["selectable"] = False
    return found
