from __future__ import annotations

import json
from typing import Any

import pytest

from workbench.views import layers

Record = dict[str, Any]


def record(name: str, own: float | None, **more: Any) -> Record:
    base = {
        "layer": name,
        "op": "Conv",
        "shape": [8, 4, 3, 3],
        "bits_weights": 4,
        "bits_activations": 8,
    }
    rest = {"parameters": 288, "macs": 1000, "alone_weights_db": own, "alone_activations_db": 40.0}
    return {**base, **rest, "accumulated_db": 12.0, "damage_flips": 0.01, "damage_kl": 0.1, **more}


def test_times_and_operations_are_shown_where_they_are_known():
    times = {"nodes": [{"name": "a", "ms": 0.25}, {"name": "(layout)", "ms": 1.0}]}
    records = [record("a", 9.0, macs=2_000_000), record("b", 9.0, bits_activations=0)]
    view = layers.table(layers.with_latency(records, times), measure="latency")
    assert view["order"]["latency"] == ["a", "b"]
    cells = view["rows"][0]["cells"]
    assert (cells["latency"]["text"], cells["macs"]["text"], cells["bops"]["text"]) == (
        "0.25", "2", "64",
    )  # fmt: skip
    assert view["rows"][1]["cells"]["latency"] is None
    assert "latency" not in layers.table(layers.with_latency(records, None))["order"]


def test_worst_layer_comes_first():
    table = layers.table([record("good", 22.0), record("bad", 5.0), record("fair", 15.0)])
    assert table["order"]["weights"] == ["bad", "fair", "good"]
    assert table["selected"] == "bad"


def test_reference_is_six_decibels_per_bit():
    cell = layers.table([record("one", 12.04)])["rows"][0]["cells"]["weights"]
    assert layers.theory(4) == pytest.approx(24.08)
    assert cell["fraction"] / cell["reference"] == pytest.approx(0.5, abs=0.01)


def test_damage_is_sorted_by_divergence():
    rows = [record(name, 9.0, damage_kl=kl) for name, kl in (("a", 5e-4), ("b", 1e-4), ("c", 9e-3))]
    table = layers.table(rows, measure="damage")
    assert table["order"]["damage"] == ["c", "a", "b"]
    assert table["rows"][0]["cells"]["damage"]["text"] == "0.50"


def test_layers_with_many_bits_do_not_flatten_the_others():
    rows = [record("edge", 50.0, bits_weights=8), *(record(f"l{k}", 12.0) for k in range(5))]
    cells = [row["cells"]["weights"] for row in layers.table(rows)["rows"]]
    assert cells[0]["fraction"] == 1
    assert cells[0]["reference"] is None
    assert cells[1]["fraction"] > 0.3


def test_float_layers_have_no_cell_and_come_last():
    table = layers.table([record("kept", 3.0, bits_weights=0), record("low", 9.0)])
    assert table["order"]["weights"] == ["low", "kept"]
    assert table["rows"][0]["cells"]["weights"] is None
    assert table["rows"][0]["bits"] == "f·8"


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_do_not_break_the_table(value: float | None):
    table = layers.table([record("odd", value), record("low", 9.0)])
    assert table["order"]["weights"] == ["low", "odd"]
    json.dumps(table, allow_nan=False)


def test_negative_sqnr_has_an_empty_bar():
    cell = layers.table([record("awful", -3.0), record("low", 9.0)])["rows"][0]["cells"]["weights"]
    assert cell["fraction"] == 0
    assert cell["text"] == "−3.0"
    assert cell["heat"] == 1


def test_bytes_follow_the_bits():
    assert layers.stored_bytes({"parameters": 1000, "bits_weights": 4}) == 500
    assert layers.stored_bytes({"parameters": 1000, "bits_weights": 0}) == 4000


def test_no_layers_say_so():
    assert layers.table([])["message"]


def test_an_unknown_selection_falls_back_to_the_worst(report: Record):
    table = layers.table(report["layers"], selected="no such layer")
    assert table["selected"] == table["order"]["weights"][0]


def test_bits_and_bytes_colour_the_table_too():
    rows = [record("wide", 20.0, bits_weights=8), record("kept", 3.0, bits_weights=0)]
    rows.append(record("low", 9.0, parameters=9000))
    table = layers.table(rows, measure="bits")
    assert table["order"]["bits"] == ["low", "wide", "kept"]
    assert table["order"]["bytes"] == ["low", "kept", "wide"]
    assert [row["cells"]["bits"]["text"] for row in table["rows"]] == ["8", "float", "4"]
    assert table["rows"][2]["cells"]["bytes"]["text"] == "4.5 kB"
    assert table["network"] == ["wide", "kept", "low"]


def test_estimates_are_marked_and_can_be_measured():
    rows = [record("a", 9.0, gain_kl=2e-3, estimated=["gain"])]
    table = layers.table(rows, measure="gain", action={"label": "Measure"})
    assert table["rows"][0]["cells"]["gain"]["text"] == "~2.00"
    assert table["rows"][0]["cells"]["damage"]["text"] == "100.0"
    assert table["estimated"] == ["gain"]
    assert table["feet"]["gain"].endswith("~ estimated.")
    assert "estimated" in table["rows"][0]["cells"]["gain"]["spoken"]
