"""TTQ: two learned levels, the paper's three gradients, and a table in what is exported."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantizers import low
from workbench.maths.estimators.registry import make
from workbench.quantizers.codes import Codes
from workbench.quantizers.ttq import TTQ

W = torch.tensor([1.0, 0.04, -0.03, -0.5, 0.3, 0.0])  # Δ = 0.05
UPSTREAM = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])


def moved(w: torch.Tensor = W, size=low.SIZES[0], **options) -> TTQ:
    """With Wn = 0.5 and Wp = 2, in units of 1."""
    quantizer = low.made("ttq", 2, w, size, **options)
    assert isinstance(quantizer, TTQ)
    with torch.no_grad():
        quantizer.scale.fill_(1)
        quantizer.levels.copy_(torch.tensor([-0.5, 0.0, 2.0]))
    return quantizer


def test_values_and_codes() -> None:
    quantizer = moved()
    assert quantizer.codes(W).tolist() == [2, 1, 1, 0, 2, 1]
    assert quantizer(W).tolist() == pytest.approx([2, 0, 0, -0.5, 2, 0])
    frozen = quantizer.frozen(W)
    assert frozen.levels.tolist() == [-0.5, 0, 2]
    assert torch.equal(frozen.values(), quantizer(W))


def test_the_papers_gradients() -> None:
    quantizer = moved()
    assert low.gradient(quantizer, W, UPSTREAM) == pytest.approx([2, 2, 3, 2, 10, 6])
    # levels are -Wn, 0, Wp: so the gradient of Wn is minus the first of them
    assert quantizer.levels.grad.tolist() == [4, 0, 6]


def test_scales_of_channels_are_units() -> None:
    w = torch.stack([W, 3 * W])
    quantizer = moved(w, low.SIZES[1])
    with torch.no_grad():
        quantizer.scale.copy_(torch.tensor([1.0, 3.0]))
    assert torch.allclose(quantizer(w)[1], 3 * quantizer(w)[0])
    quantizer.zero_grad()
    assert low.gradient(quantizer, w, torch.stack([UPSTREAM, UPSTREAM])) == pytest.approx(
        2 * [2, 2, 3, 2, 10, 6]
    )
    assert quantizer.levels.grad.tolist() == [16, 0, 24]


def test_it_begins_at_the_mean_of_what_is_not_zero() -> None:
    quantizer = low.made("ttq", 2, W)
    assert quantizer(W).tolist() == pytest.approx([0.6, 0, 0, -0.6, 0.6, 0])


def test_the_threshold_is_an_option_and_follows_the_weight() -> None:
    assert moved(threshold=0.4).codes(W).tolist() == [2, 1, 1, 0, 1, 1]
    assert moved(threshold=0.0).codes(W).tolist() == [2, 2, 0, 0, 2, 1]
    assert moved().codes(torch.cat([W, torch.tensor([20.0])])).tolist() == [1] * 6 + [2]


def test_levels_stay_on_their_sides() -> None:
    quantizer = moved()
    with torch.no_grad():
        quantizer.levels.copy_(torch.tensor([0.3, 7.0, -0.2]))
    assert quantizer.table().tolist() == pytest.approx([-0.3, 0, 0.2])


def test_an_estimator_shapes_the_latent_gradient() -> None:
    quantizer = moved()
    quantizer.estimator = make("clipped_ste")  # within ±2Δ
    assert low.gradient(quantizer, W, UPSTREAM) == pytest.approx([0, 2, 3, 0, 0, 6])


def test_training_moves_both_levels() -> None:
    """The target is twice as steep above zero, so the best Wp is twice the best Wn."""
    w = low.normal()[100::200] ** 3
    target = torch.where(w > 0, 2 * w, w)
    quantizer = low.made("ttq", 2, w)
    optimiser = torch.optim.Adam(quantizer.parameters(), lr=0.02)
    for _ in range(300):
        loss = (quantizer(w) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    low_, _, high = quantizer.table().tolist()
    assert high == pytest.approx(-2 * low_, rel=0.01)


def test_codes_keep_its_levels() -> None:
    quantizer = moved()
    chosen = Codes(quantizer.grid, tuple(W.shape))
    chosen.take(quantizer)
    chosen.set_codes(quantizer.codes(W))
    assert torch.equal(chosen(W), quantizer(W))


@settings(deadline=None, max_examples=60)
@given(w=low.weights(), size=st.sampled_from(low.SIZES))
def test_on_levels_and_symmetric(w, size) -> None:
    low.holds(low.made("ttq", 2, w, size), w)
