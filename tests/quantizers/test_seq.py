"""SEQ: its levels, its gradients against those of the paper's code, and where α begins."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantizers import low
from workbench.maths.estimators.registry import make
from workbench.maths.grid import Grid
from workbench.quantizers.registry import QUANTIZERS
from workbench.quantizers.seq import SEQ

W = torch.tensor([[0.1, -0.3, 0.7, -0.95, 1.4], [0.04, -0.6, 0.49, 0.2, -3.0]])
KINDS = [(1, "balanced"), (2, "balanced"), (2, "ternary"), (3, "balanced"), (4, "balanced")]
NAMES = {(1, "balanced"): "binary", (2, "balanced"): "odd2", (2, "ternary"): "ternary"}


def at_one(bits: int, levels: str) -> SEQ:
    """With α = 1 for each row."""
    quantizer = low.made("seq", bits, W, low.SIZES[1], levels=levels)
    assert isinstance(quantizer, SEQ)
    with torch.no_grad():
        quantizer.scale.fill_(1)
    return quantizer


@pytest.mark.parametrize(
    ("bits", "levels", "expected"),
    [
        (1, "balanced", [1, -1, 1, -1, 1, 1, -1, 1, 1, -1]),
        (2, "balanced", [0.25, -0.25, 0.75, -0.75, 0.75, 0.25, -0.75, 0.25, 0.25, -0.75]),
        (2, "ternary", [0, 0, 2 / 3, -2 / 3, 2 / 3, 0, -2 / 3, 2 / 3, 0, -2 / 3]),
        (3, "balanced", [0, 0, 1, -1, 1, 0, -1, 0, 0, -3]),
    ],
)
def test_levels(bits: int, levels: str, expected: list[float]) -> None:
    assert at_one(bits, levels)(W).flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("bits", "levels"), KINDS)
def test_gradients_by_hand(bits: int, levels: str) -> None:
    """Of u = w/α, whose rounded value q is one of the levels; N is the size of the matrix."""
    quantizer = at_one(bits, levels)
    upstream = torch.randn(W.shape, generator=torch.Generator().manual_seed(2))
    found = torch.tensor(low.gradient(quantizer, W, upstream)).reshape(W.shape)
    q, ends = quantizer(W).detach(), {1: (-1.0, 1.0), 2: (-0.99, 0.99)}
    first, last = ends.get(bits, (quantizer.grid.qmin, quantizer.grid.qmax))
    inside = torch.logical_and(first < W, last > W)
    assert torch.allclose(found, inside * upstream)
    moves = q if bits == 1 else torch.where(inside, q - W, q)
    top = 2 ** (bits - 1) - 1 if bits > 2 else 1
    expected = (moves * upstream).sum(1) / math.sqrt(W.numel() * top)
    assert quantizer.scale.grad is not None
    assert quantizer.scale.grad.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


@pytest.mark.parametrize(("bits", "levels"), KINDS)
@pytest.mark.parametrize("size", low.SIZES, ids=lambda s: s.kind)
def test_where_alpha_begins(bits: int, levels: str, size) -> None:
    quantizer = low.made("seq", bits, W, size, levels=levels)
    rows = {"tensor": [W], "channel": list(W), "group": [p for r in W for p in r.split(4)]}
    biggest = [float(part.abs().max()) for part in rows[size.kind]]
    means = [float(part.abs().mean()) for part in rows[size.kind]]
    share = 2 ** (bits - 1) - 1 if bits > 2 else 1
    expected = means if bits == 1 else [value / share for value in biggest]
    assert isinstance(quantizer, SEQ)
    assert quantizer.alpha.flatten().tolist() == pytest.approx(expected)
    step = {"binary": 1, "odd2": 1 / 4, "ternary": 2 / 3}.get(quantizer.grid.label, 1)
    scaled = [step * value for value in expected]
    assert quantizer.affine()[0].flatten().tolist() == pytest.approx(scaled)


@pytest.mark.parametrize(("bits", "levels"), KINDS)
def test_grids(bits: int, levels: str) -> None:
    assert at_one(bits, levels).grid.label == NAMES.get((bits, levels), "")


def test_a_calibrated_range_is_taken_over() -> None:
    """Two bits of step s reach to 2 s, as do the four levels that SEQ puts there."""
    before = QUANTIZERS["uniform"].make(Grid(2), (3,))
    before.set_affine(torch.tensor(0.5), torch.tensor(0.0))
    quantizer = SEQ(Grid(2), (3,))
    quantizer.take(before)
    assert quantizer(torch.tensor([0.1, 0.6, -9.0])).tolist() == [0.25, 0.75, -0.75]
    again = SEQ(Grid(2), (3,))
    again.take(quantizer)
    assert float(again.alpha) == float(quantizer.alpha) == 1.0


def test_a_coarser_scale_is_kept() -> None:
    quantizer = at_one(2, "balanced")
    quantizer.coarsen(torch.tensor([0.1, 0.5]))
    assert quantizer.affine()[0].tolist() == [0.25, 0.5]


def test_an_estimator_takes_part() -> None:
    """Clipping is the estimator's, at ±0.99, and so is rounding inside."""
    quantizer = at_one(2, "balanced")
    plain = low.gradient(quantizer, W)
    quantizer.estimator = make("clipped_ste")
    assert low.gradient(quantizer, W) == plain


@settings(deadline=None, max_examples=80)
@given(w=low.weights(), size=st.sampled_from(low.SIZES), kind=st.sampled_from(KINDS[:3]))
def test_on_levels_and_symmetric(w, size, kind) -> None:
    quantizer = low.made("seq", kind[0], w, size, levels=kind[1])
    away = (w.abs() / quantizer.affine()[0].max() - 2).abs() > 1e-5  # a tie goes to even
    low.holds(quantizer, torch.where(away, w, torch.zeros_like(w)))
