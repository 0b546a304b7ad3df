"""The curves of the gradient estimators."""

from __future__ import annotations

import json

import numpy as np
import pytest

from workbench.foundation.errors import RecipeError
from workbench.maths.estimators.curves import curves
from workbench.maths.estimators.registry import ESTIMATORS


def test_curves_are_json_and_of_one_length():
    view = json.loads(json.dumps(curves(), allow_nan=False))
    names = [record["name"] for record in view["estimators"]]
    assert sorted(names) == ESTIMATORS.names()
    assert names[:2] == ["ste", "clipped_ste"]
    assert set(view["forward"]) == {0, 1, 2, 3}
    for record in view["estimators"]:
        drawn = [record[key] for key in ("slope", "soft", "slope_negative") if record[key]]
        assert {len(curve) for curve in drawn} == {len(view["x"])} == {len(view["forward"])}
        assert record["citation"]


@pytest.mark.parametrize("name", ["ste", "clipped_ste", "dsq", "tanh", "reste"])
def test_the_slope_is_that_of_the_soft_function(name: str):
    view = curves([name])
    record = view["estimators"][0]
    x, soft, slope = (np.array(values) for values in (view["x"], record["soft"], record["slope"]))
    rise = np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(x))
    assert np.abs(rise - (soft[1:] - soft[0])).max() < 0.03  # of a step
    assert soft[-1] - soft[0] == pytest.approx(4.49 if name == "ste" else 3)
    assert record["slope_negative"] is None


def test_only_plain_straight_through_passes_beyond_the_range():
    view = curves()
    outside = [not view["low"] < x < view["high"] for x in view["x"]]
    for record in view["estimators"]:
        beyond = {slope for slope, out in zip(record["slope"], outside, strict=True) if out}
        assert beyond == ({1.0} if record["name"] == "ste" else {0.0})


def test_ewgs_has_a_slope_for_each_sign():
    record = curves(["ewgs"])["estimators"][0]
    assert record["options"] == {"delta": 2.0}
    assert record["defaults"] == {"delta": 0.001}
    assert record["soft"] is None
    pairs = zip(record["slope"], record["slope_negative"], strict=True)
    assert all(up + down in (0.0, pytest.approx(2)) for up, down in pairs)
    straight = curves(["ewgs"], {"ewgs": {"delta": 0}})["estimators"][0]
    assert straight["slope"] == curves(["clipped_ste"])["estimators"][0]["slope"]
    assert straight["slope_negative"] is None


def test_options_and_names_are_checked():
    with pytest.raises(RecipeError, match="unknown estimator 'stee'; did you mean 'ste'"):
        curves(["stee"])
    with pytest.raises(RecipeError, match="alpha"):
        curves(["dsq"], {"dsq": {"alpha": 0.9}})
