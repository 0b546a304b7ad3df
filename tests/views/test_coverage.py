"""The coverage table as people see it."""

from __future__ import annotations

import pytest

from workbench.views.coverage import coverage

ROW = {
    "node": "stem",
    "op": "Conv",
    "arithmetic": "integer",
    "why": "",
    "weight_bits": 7,
    "input_bits": 8,
    "output_bits": None,
    "group": None,
    "macs": 300,
    "parameters": 40,
    "stored": 40,
    "note": "7 bits instead of 8",
}


@pytest.fixture
def record():
    pool = {**ROW, "node": "pool", "op": "MaxPool", "macs": 0, "note": "", "group": "stem.relu"}
    soft = {**pool, "node": "soft", "arithmetic": "float", "why": "no kernel", "group": None}
    head = {**ROW, "node": "<b>", "arithmetic": "none", "macs": 100, "weight_bits": None}
    return {
        "target": "ort-cpu",
        "integer_nodes": 2,
        "nodes": 3,
        "integer_macs": 0.75,
        "quantized_macs": 1.0,
        "stored_parameters": 0.5,
        "rows": [ROW, pool, soft, head],
    }


def test_a_row_says_bits_share_and_reason(record) -> None:
    seen = coverage(record)
    assert [len(row["cells"]) for row in seen["rows"]] == [len(seen["columns"])] * 4
    expected = ["stem", "Conv", "integer", "7", "8", "–", "75.0", "7 bits instead of 8"]
    assert seen["rows"][0]["cells"] == expected
    assert seen["rows"][1]["cells"][-1] == "shares the scale of 'stem.relu'"
    assert seen["rows"][2]["cells"][-1] == "no kernel"


def test_tones_tell_integer_from_float(record) -> None:
    assert [row["tone"] for row in coverage(record)["rows"]] == ["good", "good", "plain", "dim"]


def test_the_sentence_has_the_totals(record) -> None:
    assert coverage(record)["sentence"] == (
        "2 of 3 nodes and 75.0 % of the multiply-adds run on integers on target 'ort-cpu'; "
        "50.0 % of the parameters are stored as integers"
    )
