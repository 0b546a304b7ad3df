"""BitNet's ternary weights: the catalogued example, and its place among ternary roundings."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantizers import low
from workbench.maths.estimators.registry import make


def test_the_catalogued_example() -> None:
    w = torch.tensor([0.9, -0.05, -0.6, 0.2])
    quantizer = low.made("absmean", 2, w)
    assert float(quantizer.affine()[0]) == 0.4375
    assert quantizer.codes(w).tolist() == [1, 0, -1, 0]
    assert quantizer(w).tolist() == [0.4375, 0, -0.4375, 0]


def test_catalogued_numbers_of_normal_weights() -> None:
    w = low.normal()
    quantizer = low.made("absmean", 2, w)
    zero = (quantizer.codes(w) == 0).float().mean()
    assert float(zero) == pytest.approx(0.310064, abs=1e-5)
    assert float((quantizer(w) - w).square().mean()) == pytest.approx(0.26338177, abs=2e-4)


def test_the_gradient_is_one_everywhere() -> None:
    w = torch.tensor([5.0, 0.3, -0.1, 0.0, -2.0])
    quantizer = low.made("absmean", 2, w)
    upstream = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    assert low.gradient(quantizer, w, upstream) == pytest.approx(upstream.tolist())
    quantizer.estimator = make("clipped_ste")  # γ = 1.48: within ±γ
    assert low.gradient(quantizer, w) == pytest.approx([0, 1, 1, 1, 0])


def test_dead_weights_stay_finite() -> None:
    w = torch.zeros(3, 4)
    assert torch.equal(low.made("absmean", 2, w, low.SIZES[1])(w), w)


@settings(deadline=None, max_examples=60)
@given(w=low.weights(), size=st.sampled_from(low.SIZES))
def test_on_levels_and_symmetric(w, size) -> None:
    low.holds(low.made("absmean", 2, w, size), w)
