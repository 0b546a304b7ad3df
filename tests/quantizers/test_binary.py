"""Binary weights: the sign with zero on the positive side, its scale, and three gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantizers import low
from workbench.maths.estimators.registry import make

W = torch.tensor([0.9, -0.05, 0.0, -1.6, 0.2])  # E|w| = 0.55


def test_catalogued_numbers_of_normal_weights() -> None:
    w = low.normal()
    quantizer = low.made("binary", 1, w)
    assert float(quantizer.affine()[0]) == pytest.approx(math.sqrt(2 / math.pi), abs=1e-4)
    assert float((quantizer(w) - w).square().mean()) == pytest.approx(0.36338023, abs=2e-4)


def test_zero_counts_as_positive_and_the_least_negative_does_not() -> None:
    quantizer = low.made("binary", 1, W)
    assert quantizer(W).tolist() == pytest.approx([0.55, -0.55, 0.55, -0.55, 0.55])
    tiny = torch.tensor([-1e-30, 1e-30, -0.0, 1.0])
    assert low.made("binary", 1, tiny).codes(tiny).tolist() == [-1, 1, 1, 1]


def test_without_a_scale_they_are_one() -> None:
    quantizer = low.made("binary", 1, W, scale="none")
    assert quantizer(W).tolist() == [1, -1, 1, -1, 1]
    quantizer.coarsen(torch.tensor(2.0))
    assert quantizer(W).tolist() == [2, -2, 2, -2, 2]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"gradient": "clipped"}, [0, 2, 3, 0, 5]),  # within ±0.55
        ({"gradient": "clipped", "scale": "none"}, [1, 2, 3, 0, 5]),  # within ±1
    ],
)
def test_gradients(options: dict, expected: list[float]) -> None:
    upstream = torch.arange(1.0, 6.0)
    found = low.gradient(low.made("binary", 1, W, **options), W, upstream)
    assert found == pytest.approx(expected)


def test_an_estimator_takes_the_gradients_place() -> None:
    quantizer = low.made("binary", 1, W)
    quantizer.estimator = make("clipped_ste")
    assert low.gradient(quantizer, W) == pytest.approx([0, 1, 1, 0, 1])


@settings(deadline=None, max_examples=60)
@given(w=low.weights(), size=st.sampled_from(low.SIZES), scale=st.sampled_from(["mean", "none"]))
def test_on_levels_and_symmetric(w, size, scale) -> None:
    low.holds(low.made("binary", 1, w, size, scale=scale), w)
