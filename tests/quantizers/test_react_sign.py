"""ReActNet's binary weights: the sign's surrogates at the catalogued places."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantizers import low
from workbench.maths.estimators.registry import make

W = torch.tensor([-0.5, 0.0, 0.5, 1.0, -1.5, 0.25])  # E|w| = 0.625


@pytest.mark.parametrize(
    ("surrogate", "slopes"),
    [("clipped", [1, 1, 1, 0, 0, 1]), ("quadratic", [1, 2, 1, 0, 0, 1.5])],
)
def test_slopes_of_the_surrogates(surrogate: str, slopes: list[float]) -> None:
    quantizer = low.made("react_sign", 1, W, surrogate=surrogate)
    assert quantizer(W).tolist() == pytest.approx([-0.625, 0.625, 0.625, 0.625, -0.625, 0.625])
    assert low.gradient(quantizer, W) == pytest.approx(slopes)
    upstream = torch.arange(6.0)
    expected = (upstream * torch.tensor(slopes)).tolist()
    assert low.gradient(quantizer, W, upstream) == pytest.approx(expected)


def test_an_estimator_takes_their_place() -> None:
    quantizer = low.made("react_sign", 1, W, surrogate="quadratic")
    quantizer.estimator = make("clipped_ste")  # within ±α
    assert low.gradient(quantizer, W) == pytest.approx([1, 1, 1, 0, 0, 1])


@settings(deadline=None, max_examples=60)
@given(
    w=low.weights(),
    size=st.sampled_from(low.SIZES),
    surrogate=st.sampled_from(["clipped", "quadratic"]),
)
def test_on_levels_and_symmetric(w, size, surrogate) -> None:
    quantizer = low.made("react_sign", 1, w, size, surrogate=surrogate)
    low.holds(quantizer, w)
    assert torch.equal(quantizer(w), low.made("binary", 1, w, size)(w))
