"""View-models other than tables and histograms, the report, and the figures."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from workbench.views import (
    assets,
    code,
    figures,
    inspector,
    progress,
    strings,
    summary,
    verification,
)
from workbench.views.assets import script
from workbench.views.numbers import fixed, signed
from workbench.views.report import embed, html

Record = dict[str, Any]


def test_header_names_each_number_and_its_distance(report: Record):
    items = {item["label"]: item for item in summary.scores(report)["items"]}
    assert items["float"]["value"] == "97.4 %"
    assert items["nearest rounding"]["delta"] == "−16.1"
    assert items["nearest rounding"]["tone"] == "bad"
    assert items["learned (gram)"]["delta"] == "−0.5"
    assert items["learned (gram)"]["tone"] == "good"
    assert items["size"] == items["size"] | {"value": "92.0 kB", "delta": "÷4.5", "tone": "good"}
    assert items["latency"]["delta"] == "×1.5"


def test_fewer_bits_per_byte_is_better():
    base = {"score": 2.0, "metric": "bits/byte", "unit": "bits"}
    report = {"scores": {"float": base, "learned": {**base, "score": 2.5}}, "method": "gram"}
    learned = summary.scores(report)["items"][1]
    assert (learned["delta"], learned["tone"]) == ("+0.50", "bad")


def test_runs_show_only_what_differs(report: Record):
    entries = [
        {"id": "b", "name": "W4A8 gram", "state": "running", "settings": {"edges": "8", "x": "1"}},
        {"id": "a", "name": "W3A8 gram", "state": "done", "settings": {"edges": "8", "x": "2"}},
    ]
    entries[1]["report"] = report
    table = summary.runs(entries, "a")
    assert [column["label"] for column in table["columns"]][:3] == ["run", "x", "top-1"]
    assert table["rows"][0]["cells"][2] == "running"
    assert table["rows"][1]["selected"]


def test_verdict_has_a_line_for_each_mode(report: Record):
    view = verification.verdict(report["verification"], report)
    assert view["lines"][0]["text"].startswith("Graph as written: all 24 tensors equal")
    assert "1 step at most" in view["lines"][1]["text"]
    assert any("slower than float" in line["text"] for line in view["lines"])
    assert verification.verdict(report["verification"], report, "W4A8 gram")["title"] == (
        "Verification · W4A8 gram"
    )
    assert verification.verdict(None)["message"]


def test_a_difference_is_marked_and_explained(report: Record):
    record = json.loads(json.dumps(report["verification"]))
    record["modes"][1]["verdict"] = "differs"
    record |= {"cause": "saturating kernels", "cure": "use exact kernels", "ok": False}
    view = verification.verdict(record)
    assert view["lines"][1]["tone"] == "warn"
    texts = [line["text"] for line in view["lines"]]
    assert "Cause: saturating kernels." in texts
    assert "Cure: use exact kernels." in texts


def test_layers_and_prices_are_lines(report: Record):
    record = json.loads(json.dumps(report["verification"]))
    layers = [f"layer{k}" for k in range(6)]
    record["suspects"] = [{"tensor": name, "layers": [name]} for name in layers]
    price = {"latency_ms": 3.0, "float_latency_ms": 4.0, "agreement": 0.5, "departing": 6}
    cured = {**price, "agreement": 1.0, "departing": 0}
    record |= {"price": price, "cures": [{"name": "7-bit", "words": "halved", "price": cured}]}
    lines = {line["text"]: line["tip"] for line in verification.verdict(record)["lines"]}
    assert "All 48 stored tensors bit for bit equal" in lines
    assert lines["Layers: layer0, layer1, layer2, layer3 and 2 more."] == ", ".join(layers)
    assert "As it is: 0.75 × the float time, 50.0 % as float predicts, 6 tensors off" in lines
    assert lines["7-bit: 0.75 × the float time, 100.0 % as float predicts"] == "halved"


def steps(site: str, *losses: float) -> list[Record]:
    return [{"kind": "step", "site": site, "values": {"loss": loss}} for loss in losses]


def test_learning_has_a_panel_for_each_layer_and_marks_the_current_one():
    events = steps("a", 3.0, 2.0, 1.0) + steps("b", 9.0, 5.0)
    view = progress.learning(events, {"fraction": 0.5, "eta_seconds": 65, "text": "b"}, "running")
    assert [panel["label"] for panel in view["panels"]] == ["a", "b"]
    assert [panel["current"] for panel in view["panels"]] == [False, True]
    assert view["status"] == "b · 1 min 05 s left"
    assert view["panels"][0]["text"] == "3 → 1"


def test_a_job_without_curves_starts_or_does_not_learn():
    starting = progress.learning([], {"fraction": 0.0}, "running")["message"]
    scoring = progress.learning([{"kind": "note", "text": "scoring"}], None, "running")["message"]
    assert starting.startswith("Starting the job")
    assert scoring.startswith("No curve so far")


def test_layers_solved_in_one_go_show_what_they_gained():
    values = {"error_nearest": 0.02, "error_learned": 0.01, "flips": 0.1}
    view = progress.learning([{"kind": "layer", "site": "a", "values": values}], None, "done")
    panel = view["panels"][0]
    assert (panel["text"], panel["points"], panel["low"]) == ("+3.0 dB", [0.02, 0.01], 0.0)
    assert "10 % of the codes moved" in panel["tip"]


def test_a_failed_job_says_why():
    notes = [{"kind": "note", "text": "observed 512 of 512 examples"}]
    view = progress.learning(notes, {"fraction": 0.2}, "failed", "W4A8 lsq", "the job was too long")
    assert (view["status"], view["message"]) == ("failed", "The job was too long")
    stopped = progress.learning(notes, None, "stopped", "W4A8 lsq", "the job was too long")
    assert stopped["message"] == "observed 512 of 512 examples"


def test_a_run_in_which_nothing_learns_says_so():
    notes = [{"kind": "note", "text": "0.92 ms, float 0.23 ms"}]
    rounded = progress.learning([{"kind": "step", "site": "a"}, *notes], None, "done")
    assert "rounded to the nearest level" in rounded["message"]
    assert "taken as they are" in progress.learning(notes, None, "done")["message"]


def test_epochs_are_one_curve():
    events = [
        {"kind": "layer", "site": f"epoch {k}", "values": {"loss": 1.0 / k}} for k in (1, 2, 4)
    ]
    panels = progress.learning(events, None, "done")["panels"]
    assert [panel["points"] for panel in panels] == [[1.0, 0.5, 0.25]]
    assert panels[0]["layer"] is None


def test_long_curves_are_thinned_and_keep_their_end():
    view = progress.learning(steps("a", *map(float, range(5000))), None, "done")
    points = view["panels"][0]["points"]
    assert len(points) <= progress.MOST_POINTS
    assert points[-1] == 4999


def test_strange_numbers_in_events_are_left_out():
    events = [{"kind": "step", "site": "a", "values": {"loss": None}}, *steps("a", 1.0)]
    assert progress.learning(events, None, "done")["panels"][0]["points"] == [1.0]


def test_inspector_says_what_hurts(report: Record):
    layer = report["layers"][3]["layer"]
    view = inspector.inspector("m", report["layers"], report["histograms"], layer)
    assert view["finding"].startswith("Weights ")
    assert view["weights"]["channels"] == len(view["channels"]["ranges"])
    assert view["activations"]["log"] is True
    assert len(view["network"]["points"]) == len(report["layers"])
    json.dumps(view, allow_nan=False)


def test_few_heavy_channels_are_named():
    share = [0.4, 0.3] + [0.3 / 30] * 30
    weight = ("w", {"channels": {"ranges": [1.0] * 32, "share": share}, "grid": {"kind": "tensor"}})
    view = inspector.channels(weight, None)
    assert view is not None
    assert view["worst"] == [0, 1]
    assert view["text"] == "2 of 32 channels carry 70 % of the weight error"


def test_layers_without_histograms_are_drawn_anyway(report: Record):
    view = inspector.inspector("m", report["layers"], {}, "head")
    assert view["weights"]["message"]
    assert view["channels"]["message"]


def test_code_is_the_same_recipe_three_times():
    recipe = {"weights": 3, "activations": None, "edges": None, "method": "lsq"}
    recipe["options"] = {"epochs": 3}
    tabs = {
        tab["label"]: tab["text"]
        for tab in code.code(recipe, "toml", "my model", "a b.npz")["tabs"]
    }
    assert "workbench quantize 'my model'" in tabs["Command"]
    assert "--activations float" in tabs["Command"]
    assert "'a b.npz'" in tabs["Command"]
    assert "epochs=3" in tabs["Python"]
    compile(tabs["Python"], "shown", "exec")


@pytest.mark.parametrize(
    ("value", "text"), [(-3.25, "−3.2"), (0.0, "0.0"), (-0.01, "0.0"), (None, "–")]
)
def test_numbers_for_people(value: float | None, text: str):
    assert fixed(value) == text


def test_signs():
    assert (signed(1.26), signed(-1.26), signed(0.01)) == ("+1.3", "−1.3", "±0")


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.6, "8 s"), (65, "1 min 05 s"), (4200, "1 h 10 min"), (-1, "0 s")]
)
def test_durations(seconds: float, text: str):
    assert strings.seconds(seconds) == text


def test_modules_are_joined_without_imports_and_exports():
    text = script("inspector", "layers")
    assert "import {" not in text
    assert "\nexport " not in text
    assert text.count("function stage(") == 1
    assert text.index("function stage(") < text.index("function mountInspector(")


def test_embedded_data_cannot_leave_its_element():
    text = embed({"name": "</script><script>alert(1)</script><!--", "amp": "&lt;"})
    assert "<" not in text
    assert "&" not in text
    assert json.loads(text)["name"].startswith("</script>")


def test_report_holds_no_address_of_another_machine(report: Record):
    page = html(report)
    assert "https://" not in page
    assert page.replace("http://www.w3.org/2000/svg", "").count("http://") == 0


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_figures_are_written(report: Record, tmp_path: Path, suffix: str):
    hostile = [{**record, "layer": f"${record['layer']}_x^"} for record in report["layers"]]
    site = next(iter(report["histograms"]))
    made = {
        "errors": figures.layer_errors(hostile),
        "histogram": figures.histogram(report["histograms"][site], "weights"),
        "gain": figures.before_after(hostile, hostile),
    }
    for name, figure in made.items():
        path = figures.save(figure, tmp_path / f"{name}.{suffix}")
        assert path.stat().st_size > 2000


def test_modules_share_one_scope_without_a_clash():
    """They are joined, and mounted by adapters that have names of their own."""
    names = sorted(path.name[:-3] for path in Path(assets.__file__).with_name("js").glob("*.js"))
    declared = re.findall(
        r"^(?:async )?(?:function|const|let|class) (\w+)", script(*names), re.MULTILINE
    )
    adapters = ["held", "get", "send", "decode", "render", "data", "listeners", "current", "view"]
    found = Counter([*declared, *adapters, "at", "detail"])
    assert [name for name, count in found.items() if count > 1] == []
