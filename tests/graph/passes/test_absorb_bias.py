"""A bias that a Relu never cuts moves into the next layer."""

from __future__ import annotations

import numpy as np
import pytest

from tests.graph.nets import from_text
from tests.graph.passes.helpers import HEADER, fill, normal, same
from workbench.graph import fold
from workbench.graph.transforms import transform

BETA = np.array([4.0, -2.0, 5.0], np.float32)
GAMMA = np.array([1.0, 1.0, 0.5], np.float32)


def model_of(pads: str = ""):
    """A normalized layer, a Relu, another layer; channels 0 and 2 never reach zero."""
    model = from_text(
        f"{HEADER} g (float[64,3,4,4] x) => (float[64,2,a,b] y) {{ c = Conv(x, w1) "
        f"n = BatchNormalization(c, gamma, beta, mean, var) r = Relu(n) y = Conv {pads} (r, w2, b2)"
        " }"
    )
    return fill(
        model,
        w1=np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1),
        gamma=GAMMA,
        beta=BETA,
        mean=np.zeros(3, np.float32),
        var=np.ones(3, np.float32),
        w2=normal(2, 3, 1, 1),
        b2=normal(2),
    )


def test_the_excess_over_three_deviations_moves():
    model = model_of()
    folded, _ = fold(model)
    changed, (record,) = transform(folded, ["absorb-bias"])
    assert record.count == 1
    excess = np.array([1.0, 0.0, 3.5], np.float32)  # max(0, beta - 3 gamma)
    held = changed.graph.initializers
    assert np.allclose(held["w1.bias"].const_value.numpy(), BETA - excess, atol=1e-4)
    second = folded.graph.initializers["b2"].const_value.numpy()
    w2 = normal(2, 3, 1, 1)[:, :, 0, 0]
    assert np.allclose(held["b2"].const_value.numpy(), second + w2 @ excess, atol=1e-4)
    before, after = record.measures["largest bias, mean over layers"]
    assert (before, after) == pytest.approx((5.0, 3.0), abs=1e-3)


def test_exact_where_the_inputs_stay_above():
    model = model_of()
    changed, _ = transform(fold(model)[0], ["absorb-bias"])
    inside = normal(64, 3, 4, 4).clip(-2.9, 2.9)
    assert same(model, changed, x=inside) < 1e-6
    outside = np.full((64, 3, 4, 4), -4, np.float32)
    assert same(model, changed, x=outside) > 0.1


def test_padding_behind_refuses():
    _, (record,) = transform(fold(model_of("<pads = [1, 1, 1, 1]>"))[0], ["absorb-bias"])
    assert record.count == 0
    assert "padding behind it (1)" in record.detail


def test_statistics_follow_equalization():
    """Equalizing first scales beta and gamma, and so the excess."""
    changed, records = transform(fold(model_of())[0], ["equalize", "absorb-bias"])
    assert [record.count for record in records] == [1, 1]
    assert same(model_of(), changed, x=normal(64, 3, 4, 4).clip(-2.9, 2.9)) < 1e-5
