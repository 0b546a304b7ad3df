"""One self-contained HTML file: the same pictures as in the app, offline, from `file://`.

Of one run or of several side by side. All data lie in JSON blocks that are read with `JSON.parse`;
names enter the page as text only. Behind each picture lie its numbers as CSV and JSON, and where
there is a figure for a paper, that as SVG and PDF.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.views import (
    comparison,
    cured,
    inspector,
    layers,
    papers,
    progress,
    signals,
    study,
    summary,
    verification,
)
from workbench.views.assets import script, style

Record = Mapping[str, Any]

PICTURES = ("summary", "layers", "inspector", "curves", "signals", "study", "files")
SETTINGS = 6  # shown in the table of runs

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
<div id="scores"></div><div id="score-files"></div></header>
<main>{sections}
<section id="recipe"><h2>Recipe</h2><pre></pre></section></main>
<script type="application/json" id="data">{data}</script>
<script type="application/json" id="record">{record}</script>
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
min-width:0;display:flex;flex-direction:column}main>section>.picture{flex:1;min-height:0}
#layers,#inspector{height:656px}#verdict,#curves{height:212px}#signals{height:560px}\
#runs{max-height:260px}#comparison{height:520px}#comparison .wb-parts{display:none}\
#signals,#recipe,#runs,#comparison,#cured{grid-column:1/-1}#cured{max-height:420px}\
#signals:not(:has(.wb-signal-main)),#cured:not(:has(.wb-study-part)),main:not(.several)>:is(#runs,#comparison){display:none}
#recipe h2{font-size:12px;margin:0}#recipe pre{margin:8px 0 0;font:12px/1.5 ui-monospace,Menlo,\
monospace;overflow:auto}
@media (max-width:900px){main{grid-template-columns:minmax(0,1fr)}}
"""

_WIRING = """
const data = JSON.parse(document.getElementById("data").textContent);
const listeners = new Set();
let run = data.runs[0];
let current = run.layers.selected;
const choose = {
  layer: ({layer}) => { if (layer in run.details) current = run.layers.selected = layer; },
  run: (message) => {
    run = data.runs.find((one) => one.id === message.run) || run;
    if (current in run.details) run.layers.selected = current;
    current = run.layers.selected;
    data.table.rows.forEach((row) => { row.selected = row.id === run.id; });
  },
};
const view = (get) => ({
  get, on: (f) => listeners.add(f),
  send: (message) => {
    choose[message.kind]?.(message);
    listeners.forEach((f) => f());
    return undefined;
  },
});
const at = (id) => document.getElementById(id);
const detail = () => run.details[current] &&
  {...run.details[current], network: {...run.network, selected: current}};
const head = () => {
  at("model").textContent = data.runs.length > 1 ? `${run.model} · ${run.name}` : run.model;
  at("recipe").querySelector("pre").textContent = run.recipe;
};
const picture = (id, mount, get, files) => {
  const [box, foot] = at(id).children;
  mount(box, view(get));
  mountFiles(foot, view(files));
};
let recorded;
const binsOf = (one, layer) => {
  recorded = recorded || JSON.parse(at("record").textContent);
  const {histograms} = recorded.runs[data.runs.indexOf(one)].report;
  return Object.entries(histograms || {}).filter(([, found]) => found.layer === layer)
    .flatMap(([site, {start, width, counts}]) => counts.map((count, i) =>
      ({site, from: start + i * width, to: start + (i + 1) * width, count})))
    .filter(({count}) => count);
};
const file = (key) => () => run.files[key];
followScheme(document.body);
document.querySelector("main").classList.toggle("several", data.runs.length > 1);
view(head).on(head);
head();
mountScores(at("scores"), view(() => run.scores));
picture("layers", mountLayers, () => run.layers, file("layers"));
picture("inspector", mountInspector, detail, () => run.histograms[current] &&
  {...run.histograms[current], rows: () => binsOf(run, current)});
mountFiles(at("score-files"), view(file("scores")));
picture("verdict", mountVerdict, () => run.verdict, file("verdict"));
picture("curves", mountCurves, () => run.curves, file("curves"));
picture("cured", mountStudy, () => run.cured, file("cured"));
picture("signals", mountSignals, () => run.signals, file("signals"));
if (data.comparison) {
  picture("runs", mountRuns, () => data.table, () => data.files.front);
  picture("comparison", mountStudy, () => data.comparison, () => data.files.comparison);
}
"""

_SECTIONS = ("runs", "comparison", "layers", "inspector", "cured", "verdict", "curves", "signals")
_SECTION = '<section id="{id}"><div class="picture"></div><div></div></section>'


def write(report: Record, path: str | Path, events: Sequence[Record] | None = None) -> Path:
    """Write the page of one run.

    Args:
        report: as a run leaves it in `report.json`, with `histograms`.
        path: of the HTML file; its folder is made where it is missing.
        events: of the run, for the learning curves.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html(report, events), encoding="utf-8")
    return path


def html(report: Record, events: Sequence[Record] | None = None) -> str:
    """The page of one run, as text."""
    name = str((report.get("model") or {}).get("name", "model"))
    one = {"name": name, "report": report, "events": list(events or ())}
    return page({"runs": [one], "comparison": None})


def page(record: Record) -> str:
    """The page of one or several runs, as text.

    Args:
        record: as `workbench.session.comparing.gather` makes it; the page holds it, unchanged.
    """
    return _PAGE.format(
        style=style(),
        page_style=_STYLE,
        sections="".join(_SECTION.format(id=name) for name in _SECTIONS),
        data=embed(views(record)),
        record=embed(record),
        script=script(*PICTURES),
        wiring=_WIRING,
    )


def views(record: Record) -> dict[str, Any]:
    """All view-models of the page."""
    runs = [
        {
            "id": f"run-{index}",
            "name": run["name"],
            **view(run["report"], run["events"], run["name"]),
        }
        for index, run in enumerate(record["runs"])
    ]
    compared = record.get("comparison")
    found: dict[str, Any] = {"runs": runs, "comparison": None, "table": {"rows": []}, "files": {}}
    if compared:
        entry = [("comparison", "Comparison", "")]
        found["comparison"] = study.section(entry, "comparison", comparison.part(compared))
        found["table"] = _table(record, compared)
        found["files"] = {key: paper.view() for key, paper in papers.of_several(compared).items()}
    return found


def view(report: Record, events: Sequence[Record], run: str = "") -> dict[str, Any]:
    """All view-models of one run."""
    records = report.get("layers") or []
    name = str((report.get("model") or {}).get("name", "model"))
    stem = run or name
    table = layers.table(records)
    names = [str(item["layer"]) for item in records]
    return {
        "model": name,
        "scores": summary.scores(report),
        "layers": table,
        "details": {layer: _detail(name, report, layer) for layer in names},
        "network": inspector.network(records, "", report.get("naive_layers") or ())
        if records
        else None,
        "verdict": verification.verdict(report.get("verification"), report),
        "cured": cured.cured(report.get("cured")),
        "curves": progress.learning(events, None, "done"),
        "signals": signals.signals(events, None, "done"),
        "recipe": str(report.get("recipe", "")),
        "files": {key: paper.view() for key, paper in papers.of_run(stem, report, events).items()},
        "histograms": {layer: _histograms(stem, report, layer) for layer in names},
    }


def write_papers(record: Record, folder: str | Path) -> list[Path]:
    """Write all figures, and the rows behind all pictures, into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found: list[papers.Paper] = []
    for run in record["runs"]:
        name, report = run["name"], run["report"]
        found += papers.of_run(name, report, run["events"]).values()
        found += [
            papers.of_layer(name, report, str(r["layer"])) for r in report.get("layers") or ()
        ]
    if record.get("comparison"):
        found += papers.of_several(record["comparison"]).values()
    return [path for paper in found for path in paper.write(folder)]


def _histograms(run: str, report: Record, layer: str) -> dict[str, Any]:
    """Files of a layer: drawn if it is guilty; the page finds the rows in its record."""
    drawn = layer in (report.get("guilty") or ())
    return {**papers.of_layer(run, report, layer, drawn).view(), "rows": None}


def _table(record: Record, compared: Record) -> dict[str, Any]:
    """The table of runs with some of what differs."""
    shown = [row for row in compared["differs"] if row["key"] != "code"][:SETTINGS]
    entries = [
        {
            "id": f"run-{index}",
            "name": run["name"],
            "state": "done",
            "settings": {row["key"]: comparison.setting(row["values"][index]) for row in shown},
            "report": run["report"],
        }
        for index, run in enumerate(record["runs"])
    ]
    return summary.runs(entries, "run-0")


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
