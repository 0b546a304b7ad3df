"""The table of sites, from records as a diagnosis makes them."""

from __future__ import annotations

import copy
from typing import Any

from workbench.views import layers, sites


def split(kl: float, measured: float | None = None) -> dict[str, Any]:
    near = {"sqnr_db": 20.0, "cosine": 0.99, "relative_l2": 0.1}
    exact = None if measured is None else {"alone": {"kl": measured}, "cured": {}, "gain": 0.5}
    estimate = {"kl": kl, "gain": 0.25}
    return {"alone": near, "gathered": near, "estimate": estimate, "exact": exact}


def site(name: str, kind: str, kl: float, measured: float | None = None) -> dict[str, Any]:
    return {
        "site": name, "kind": kind, "layer": "fc", "grid": "int4 channel", "sqnr_db": 19.0,
        "theory_db": 19.5, "floor_db": 140.0,
        "held_out": split(kl, measured), "calibration": split(kl / 2, measured),
    }  # fmt: skip


LAYER = {
    "layer": "fc", "op": "Gemm", "shape": [4, 8], "parameters": 36, "macs": 32, "bits_weights": 4,
    "bits_activations": 8, "sites": ["w", "x"], "held_out": split(0.03), "calibration": split(0.02),
}  # fmt: skip
RECORD = {
    "answer": "classes",
    "quantized": {name: {"kl": 0.04} for name in sites.SPLITS},
    "floor_db": 138.0,
    "spearman": dict.fromkeys(sites.SPLITS),
    "sites": [site("x", "activation", 0.001), site("w", "weight", 0.02)],
    "layers": [LAYER],
}


def test_worst_first_and_estimates_are_marked() -> None:
    rows = sites.table(RECORD)["rows"]
    assert [row["name"] for row in rows] == ["w", "x"]
    assert rows[0]["damage"]["held_out"] == {"text": "~20.0", "fraction": 1.0, "measured": False}
    assert rows[0]["damage"]["calibration"]["fraction"] == 0.5
    assert rows[0]["sqnr"] == {"text": "19.0", "reference": 19.5}


def test_what_was_measured_stands_instead() -> None:
    record = copy.deepcopy(RECORD)
    record["sites"][0] = site("x", "activation", 0.001, 0.5)
    rows = sites.table(record)["rows"]
    assert rows[0]["name"] == "x"
    assert rows[0]["damage"]["held_out"]["text"] == "500.0"
    assert rows[0]["gain"] == 500.0


def test_the_table_of_layers_draws_them() -> None:
    found = sites.as_layers(RECORD)
    drawn = layers.table(found, measure="damage")
    assert drawn["rows"][0]["cells"]["damage"]["text"] == "~30.0"
    assert found[0]["estimated"]
    assert found[0]["alone_activations_db"] == 20.0


def test_what_a_run_measured_stands_before_an_estimate() -> None:
    own = [{"layer": "fc", "damage_kl": 0.05}, {"layer": "float"}]
    first, second = sites.with_damage(own, RECORD)
    assert (first["damage_kl"], first["gain_kl"], first["estimated"]) == (0.05, 0.25, ["gain"])
    assert second == {"layer": "float"}
    (bare,) = sites.with_damage([{"layer": "fc"}], RECORD)
    assert (bare["damage_kl"], bare["estimated"]) == (0.03, ["gain", "damage"])
    exact = copy.deepcopy(RECORD)
    exact["layers"][0]["held_out"] = split(0.03, 0.04)
    (measured,) = sites.with_damage(own[:1], exact)
    assert (measured["damage_kl"], measured["gain_kl"], measured["estimated"]) == (0.04, 0.5, [])
    assert sites.with_damage(own, None) == own
