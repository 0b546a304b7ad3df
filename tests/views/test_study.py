"""The parts of the export view: records of the engine as sentences, tables and actions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from workbench.graph.targets import TARGETS
from workbench.views import coverage, differences, machine, speed, study, targets

Record = dict[str, Any]


def labels(table: Record) -> list[str]:
    return [column["label"] for column in table["columns"]]


def fits(view: Record) -> bool:
    """JSON, and as many cells in each row as there are columns."""
    json.dumps(view, allow_nan=False)
    return all(
        len(row["cells"]) == len(table["columns"])
        for table in view["tables"]
        for row in table["rows"]
    )


def test_filters_count_their_rows() -> None:
    rows = [study.row(["a"], tags=["x"]), study.row(["b"]), study.row(["c"], tags=["x"])]
    table = study.table([study.column("n")], rows, filters=(("x", "odd"),))
    assert [each["label"] for each in table["filters"]] == ["all · 3", "odd · 2"]


def test_bars_stay_in_their_track() -> None:
    drawn = study.bars("n", (1.7, "float"), (-1.0, "quant"))["bars"]
    assert [bar["fraction"] for bar in drawn] == [1.0, 0.0]


def test_progress_takes_the_place_of_actions() -> None:
    view = study.part("s", actions=[study.action("go", {"kind": "measure"})])
    step = {"text": "timing", "fraction": 0.5, "seconds": 61}
    running = study.with_progress(view, "running", step, "")
    assert running["progress"] == {"text": "Timing… 1 min 01 s", "fraction": 0.5}
    assert running["actions"] == []
    assert study.with_progress(view, "failed", {}, "No room.")["notes"] == ["No room."]


# --- coverage


@pytest.fixture
def covered() -> Record:
    row = {
        "node": "<b>", "op": "Conv", "arithmetic": "integer", "why": "", "weight_bits": 7,
        "input_bits": 8, "output_bits": 8, "group": None, "macs": 300, "parameters": 40,
        "stored": 40, "note": "7 bits instead of 8",
    }  # fmt: skip
    soft = {**row, "node": "soft", "arithmetic": "float", "macs": 100, "note": "", "why": "no way"}
    pool = {**row, "node": "pool", "arithmetic": "none", "macs": 0, "note": ""}
    return {
        "target": "ort-cpu", "integer_nodes": 1, "nodes": 2, "integer_macs": 0.75,
        "quantized_macs": 1.0, "stored_parameters": 1.0, "rows": [row, soft, pool],
    }  # fmt: skip


def test_coverage_can_be_cut_down_to_float(covered: Record) -> None:
    view = coverage.part(covered, "W8A8 rtn")
    assert fits(view)
    (table,) = view["tables"]
    assert [row["cells"][0] for row in table["rows"] if "float" in row["tags"]] == ["soft"]
    assert [row["cells"][0] for row in table["rows"] if "note" in row["tags"]] == ["<b>"]
    assert table["rows"][1]["cells"][-1] == "no way"
    assert table["rows"][1]["cells"][2] == {"text": "float", "mark": "float"}
    assert table["rows"][0]["cells"][4]["bars"] == [{"fraction": 1.0, "tone": "quant"}]
    assert table["rows"][2]["cells"][4] is None
    assert view["sentence"].startswith("W8A8 rtn: 1 of 2 nodes")
    assert coverage.status(covered) == "1 of 2 nodes on integers"


# --- verification


def priced(record: Record) -> Record:
    price = {
        "agreement": 0.5, "sqnr_db": 9.25, "score": None, "float_score": None, "latency_ms": 3.0,
        "float_latency_ms": 4.0, "threads": 1, "departing": 6, "examples": 64,
    }  # fmt: skip
    cured = {**price, "agreement": 1.0, "departing": 0}
    cures = [
        {"name": "7-bit", "words": "halved", "config": {}, "layers": ["a"], "price": cured},
        {
            "name": "exact-kernels",
            "words": "set",
            "config": {"k": "1"},
            "layers": [],
            "price": cured,
        },
    ]
    suspect = {"tensor": "stem", "layers": ["a"], "cause": "saturation"}
    return {**record, "price": price, "cures": cures, "suspects": [suspect]}


@pytest.fixture
def verification(report: Record) -> Record:
    return {**json.loads(json.dumps(report["verification"])), "sentence": "It stays close."}


def test_each_tensor_has_its_steps_in_every_mode(verification: Record) -> None:
    view = differences.part(verification)
    assert fits(view)
    (table,) = view["tables"]
    groups = [column["group"] for column in table["columns"]]
    assert groups == ["", *["as written"] * 3, *["optimised"] * 3, *["exact"] * 3]
    modes = verification["modes"]
    for position, row in enumerate(table["rows"]):
        sites = [mode["sites"][position] for mode in modes]
        assert row["cells"][0] == sites[0]["name"]
        assert row["cells"][1::3] == [str(site["max_steps"]) for site in sites]
        assert ("off" in row["tags"]) == any(site["max_steps"] for site in sites)


def test_a_cure_that_writes_a_file_has_a_button(verification: Record) -> None:
    view = differences.part(priced(verification))
    assert fits(view)
    cures, tensors = view["tables"]
    rows = {row["cells"][0]: row["cells"] for row in cures["rows"]}
    assert rows["as it is"][1:-1] == ["–", "50.0", "9.2", "3.00", "0.75", "6"]
    assert rows["7-bit"][-1]["send"] == {"kind": "cure", "cure": "7-bit"}
    assert rows["exact-kernels"][-1] == "a setting"
    assert labels(tensors)[-1] == "cause"


def test_nothing_verified_is_one_sentence() -> None:
    assert "Not exported yet" in differences.part(None)["message"]
    assert differences.status(None) == "not exported"


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0"), (5e-5, "< 0.01 %"), (1e-4, "0.01 %"), (0.032, "3.20 %")]
)
def test_small_shares_are_not_rounded_to_nothing(share: float, text: str) -> None:
    assert differences.percent(share) == text


# --- time and size


@pytest.fixture
def times() -> Record:
    node = {
        "name": "a", "op": "Conv", "kernel": "QLinearConv", "kind": "integer", "ms": 0.1,
        "float_ms": 0.4, "bytes": 1000, "float_bytes": 4000,
    }  # fmt: skip
    lost = {**node, "name": "dq", "kind": "conversion", "ms": 0.2, "float_ms": None}
    return {
        "nodes": [node, lost],
        "latency": {"float_ms": 0.4, "quantized_ms": 0.3, "repeats": 20, "threads": 1},
        "shares": {"integer": 1 / 3, "float": 0.0, "conversion": 2 / 3, "layout": 0.0},
        "float_layers": [],
    }


def test_float_and_quantized_share_one_scale(times: Record) -> None:
    view = speed.part(times)
    assert fits(view)
    slow, layer = view["tables"][0]["rows"]
    assert slow["cells"][0] == "dq"
    assert [bar["fraction"] for bar in layer["cells"][3]["bars"]] == [1.0, 0.25]
    assert [bar["fraction"] for bar in layer["cells"][4]["bars"]] == [1.0, 0.25]
    assert slow["cells"][4] is None, "its bytes are counted with the layer"
    assert "0.75 × the float model's 0.40 ms" in view["sentence"]
    assert speed.status(times) == "0.30 ms, 0.75 × float"


def test_times_are_measured_on_demand() -> None:
    view = speed.part(None)
    assert view["actions"][0]["send"] == {"kind": "measure", "study": "times"}


# --- this computer

FACTS = {"architecture": "x86_64", "model": "CPU", "cores": 2, "features": {"avx2": True}}


def test_facts_come_before_the_test() -> None:
    view = machine.part(FACTS, False, None)
    assert view["sentence"].startswith("VNNI: no")
    assert view["notes"] == ["CPU, 2 cores; avx2."]
    assert [action["label"] for action in view["actions"]] == ["Run the self-test"]


def test_the_test_leads_to_a_target() -> None:
    test = {
        "name": "convolution", "size": "small", "outputs": 10, "off": 0.4, "steps": 3,
        "exact_off": 0.0, "exact_steps": 0, "float_ms": 2.0, "int8_ms": 1.0, "exact_ms": 4.0,
        "saturates": True, "speedup": 2.0, "exact_speedup": 0.5,
    }  # fmt: skip
    record = {
        "processor": FACTS, "runtime": "1", "threads": 1, "tests": [test], "saturates": True,
        "target": "ort-cpu", "advice": ["Sums saturate.", "Choose it."],
    }  # fmt: skip
    view = machine.part(FACTS, False, record)
    assert fits(view)
    assert view["tone"] == "warn"
    assert view["actions"][0]["send"] == {"kind": "target", "target": "ort-cpu"}
    assert view["tables"][0]["rows"][0]["cells"][2:4] == ["40 %, by 3 steps", "none"]


# --- targets


def test_each_target_is_one_short_line() -> None:
    found = {name: targets.meaning(target.record()) for name, target in TARGETS.items()}
    assert all(len(text) < 150 for text in found.values())
    assert "7 bits instead of 8" in found["ort-cpu"]
    assert "activations stay float" in found["weight-only"]
    assert "weights 8, activations 8 bits; no zero-points" in found["tensorrt"]


def test_transforms_say_what_they_moved() -> None:
    records = [
        {"name": "pairs equalized", "count": 3, "max_difference": 3.2e-7},
        {"name": "biases absorbed", "count": 0, "max_difference": None},
    ]
    assert targets.changes(records) == (
        "Pairs equalized: 3; float outputs move by 3e-07 of the largest at most."
        " Biases absorbed: none found here."
    )
