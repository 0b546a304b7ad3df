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
