"""TWN: the catalogued threshold and scale, and the plain straight-through gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantizers import low
from workbench.maths.estimators.registry import make


def test_catalogued_numbers_of_normal_weights() -> None:
    w = low.normal()
    quantizer = low.made("twn", 2, w)
    assert float(quantizer.affine()[0]) == pytest.approx(1.184161, abs=2e-4)
    assert float(w[quantizer.codes(w) > 0].min()) == pytest.approx(0.558519, abs=2e-4)
    error = (quantizer(w) - w).square().mean()
    assert float(error) == pytest.approx(0.19162477, abs=2e-4)


def test_by_hand() -> None:
    w = torch.tensor([0.9, -0.05, -0.6, 0.2])  # E|w| = 0.4375, Δ = 0.30625, α = 0.75
    quantizer = low.made("twn", 2, w)
    assert quantizer.codes(w).tolist() == [1, 0, -1, 0]
    assert quantizer(w).tolist() == pytest.approx([0.75, 0, -0.75, 0])


@pytest.mark.parametrize("size", low.SIZES, ids=lambda s: s.kind)
def test_each_scale_is_that_of_its_own_values(size) -> None:
    """Groups of 4 along 10 columns: the last has 2 values, and no zeros are counted with them."""
    w = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    found = low.made("twn", 2, w, size).affine()[0]
    parts = {
        "tensor": [w],
        "channel": list(w),
        "group": [part for row in w for part in row.split(4)],
    }[size.kind]
    expected = []
    for part in parts:
        beyond = part.abs() > 0.7 * part.abs().mean()
        expected.append(float(part[beyond].abs().mean()))
    assert found.flatten().tolist() == pytest.approx(expected)


def test_the_gradient_is_one_everywhere() -> None:
    w = torch.tensor([5.0, 0.3, -0.1, 0.0, -2.0])
    upstream = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    assert low.gradient(low.made("twn", 2, w), w, upstream) == pytest.approx(upstream.tolist())


def test_an_estimator_takes_the_gradients_place() -> None:
    w = torch.tensor([5.0, 0.3, -0.1, 0.0, -2.0])
    quantizer = low.made("twn", 2, w)
    quantizer.estimator = make("clipped_ste")  # Δ = 1.036: within ±2Δ
    assert low.gradient(quantizer, w) == pytest.approx([0, 1, 1, 1, 1])


def test_the_scale_follows_the_weight_and_stays_for_biases() -> None:
    w = torch.tensor([0.9, -0.05, -0.6, 0.2])
    quantizer = low.made("twn", 2, w)
    quantizer(w * 3)
    assert float(quantizer.affine()[0]) == pytest.approx(2.25)
    quantizer.coarsen(torch.tensor(4.0))
    assert quantizer(w).tolist() == [4, 0, -4, 0]
    assert torch.equal(quantizer.frozen(w).values(), quantizer(w))


def test_codes_of_another_weight_leave_the_scale() -> None:
    w = torch.tensor([0.9, -0.05, -0.6, 0.2])
    quantizer = low.made("twn", 2, w)
    assert quantizer.codes(100 * w).tolist() == [1, 0, -1, 0]
    assert float(quantizer.affine()[0]) == pytest.approx(0.75)


@settings(deadline=None, max_examples=60)
@given(w=low.weights(), size=st.sampled_from(low.SIZES))
def test_on_levels_and_symmetric(w, size) -> None:
    low.holds(low.made("twn", 2, w, size), w)
