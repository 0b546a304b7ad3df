"""Charts: what is drawn, what is left out, and which points no other beats."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from workbench.views.charts import front, lines, points

PLACES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12)


@given(PLACES, st.booleans())
def test_the_front_holds_what_nothing_beats_in_both(places, lower: bool) -> None:
    found = front(places, lower_is_better=lower)
    sign = 1 if lower else -1
    keys = [(x, sign * y) for x, y in places]
    best = {k for k in keys if not any(o != k and o[0] <= k[0] and o[1] <= k[1] for o in keys)}
    assert {keys[i] for i in found} == best
    assert len(found) == len(best)


def test_what_is_not_known_leaves_its_point_out_and_colours_stay() -> None:
    places = [("A", None, 98.0), ("B", 10.0, 97.0), ("C", 5.0, math.nan), ("D", 20.0, 99.0)]
    chart = points("Score", ("size", "kB"), ("top-1", "%"), places)
    assert [(p["label"], p["series"]) for p in chart["points"]] == [("B", 1), ("D", 3)]
    assert chart["front"] == [0, 1]
    low, high = chart["x"]["ends"]
    assert low < 10 < 20 < high
    json.dumps(chart, allow_nan=False)


def test_lines_have_gaps_where_nothing_was_measured() -> None:
    chart = lines("Total", "dB", ["a", "b"], [("A", [1.0, None]), ("B", [math.inf, 3.0])])
    assert [one["values"] for one in chart["series"]] == [[1.0, None], [None, 3.0]]
    assert chart["low"] < 1 < 3 < chart["high"]
    json.dumps(chart, allow_nan=False)


def test_charts_of_nothing_can_be_drawn() -> None:
    assert points("Score", ("size", "kB"), ("top-1", "%"), [])["front"] == []
    low, high = lines("Total", "dB", [], [])["low"], lines("Total", "dB", [], [])["high"]
    assert low < high
