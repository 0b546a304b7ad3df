"""The picture and the table of a choice of bits."""

from __future__ import annotations

import json
from typing import Any

from workbench.views import allocation, figures


def choice(name: str, bits: int, kl: float | None) -> dict[str, Any]:
    return {"name": name, "bits": {"a": bits, "b": 8}, "costs": {"bytes": 1000.0 * bits}, "kl": kl}


def record() -> dict[str, Any]:
    return {
        "chosen": choice("mixed", 3, 0.02),
        "uniform": [choice("uniform 2", 2, 0.5), choice("uniform 8", 8, 0.0)],
        "points": [choice(f"point {b}", b, kl) for b, kl in ((2, None), (4, 0.01), (6, 0.001))],
        "resource": "bytes",
        "knee": 1,
        "budgets": {"bytes": 3500.0},
        "sensitivities": {"a": {"3": 0.004}, "b": {"8": 1e-6}},
        "note": "",
    }


def test_choices_lie_at_their_cost_and_divergence():
    view = allocation.pareto(record())
    assert view["points"] == [
        {"x": 4.0, "y": 0.01, "label": "point 4"},
        {"x": 6.0, "y": 0.001, "label": "point 6"},
    ]
    assert view["knee"] == 0  # the first point has no divergence and is not drawn
    assert [p["label"] for p in view["uniform"]] == ["uniform 2"]
    assert view["budget"] == 3.5
    assert "kB" in view["x"]
    json.dumps(view, allow_nan=False)


def test_the_most_sensitive_weight_comes_first():
    part = allocation.part(record())
    rows = part["tables"][0]["rows"]
    assert [row["cells"][0] for row in rows] == ["a", "b"]
    assert rows[0]["cells"][1]["text"] == "3"
    assert part["sentence"] == "1 weight of 3 bits, 1 weight of 8 bits"


def test_the_figure_draws_all_of_it():
    figure = figures.pareto(allocation.pareto(record()))
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["mixed", "one width for all", "knee", "chosen", "budget"]
    nothing = {**record(), "points": [], "uniform": [], "knee": None, "budgets": {}}
    figures.pareto(allocation.pareto(nothing))


def swept() -> dict[str, Any]:
    """A record whose choices also know their average."""
    found = record()
    for one in (*found["points"], *found["uniform"], found["chosen"]):
        one["costs"]["average_bits"] = (one["bits"]["a"] + 8) / 2
    rows = {str(bits): 0.1 / bits for bits in (2, 3, 4, 6, 8)}
    return {**found, "sensitivities": {"b": rows, "a": rows}}


def test_a_slider_goes_over_all_choices_by_rising_average():
    view = allocation.explorer(swept(), {"b": "first", "a": "second"}, asked=7)
    averages = [one["average"] for one in view["choices"]]
    assert averages == sorted(averages) == [5.0, 5.0, 6.0, 7.0, 8.0]
    assert [weight["name"] for weight in view["weights"]] == ["first", "second"]
    assert view["choices"][view["first"]]["bits"] == [8, 6]
    assert view["widths"] == [2, 4, 6, 8]
    assert "6.00 bits" in view["choices"][2]["sentence"]
    assert "not measured" in view["choices"][0]["sentence"]
    json.dumps(view, allow_nan=False)


def test_what_has_no_divergence_has_no_place_on_logarithmic_paper():
    curve = allocation.explorer(swept(), {}, asked=4)["curve"]
    assert [place["key"] for place in curve["mixed"]] == ["point:1", "point:2"]
    assert [place["key"] for place in curve["uniform"]] == ["uniform:0"]
