"""Kurtosis: known distributions, every unit, and what descent on it does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.signals.weights import of, on
from workbench.maths.grid import Grid
from workbench.signals.base import Seen
from workbench.signals.kurtosis import kurtosis
from workbench.signals.registry import SIGNALS

ENTRY = SIGNALS["kurtosis"]


def loss(seen: Seen, **options: float) -> float:
    return float(ENTRY.make(seen, ENTRY.options(**options)).detach())


def test_uniform_normal_laplace_and_two_values() -> None:
    middles = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    assert float(kurtosis(middles)) == pytest.approx(1.8, abs=1e-4)
    assert float(kurtosis(torch.special.ndtri(middles))) == pytest.approx(3.0, abs=5e-3)
    laplace = -(2 * middles - 1).sign() * torch.log1p(-(2 * middles - 1).abs())
    assert float(kurtosis(laplace)) == pytest.approx(6.0, abs=2e-2)
    assert float(kurtosis(torch.tensor([-1.0, 1.0]))) == pytest.approx(1.0)


@given(unit=st.floats(1e-18, 1e18), shift=st.floats(-2, 2))
def test_neither_unit_nor_place_matters(unit: float, shift: float) -> None:
    x = torch.randn(500, generator=torch.Generator().manual_seed(0)) + shift
    assert float(kurtosis(unit * x)) == pytest.approx(float(kurtosis(x)), rel=1e-4)


def test_the_gradient_is_the_derivative() -> None:
    x = torch.randn(20, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (found,) = torch.autograd.grad(kurtosis(x), x)
    with torch.no_grad():
        mean = x.mean()
        d = x - mean
        m2, m3, m4 = (d.pow(k).mean() for k in (2, 3, 4))
        expected = 4 / 20 * ((d.pow(3) - m3) / m2**2 - m4 * d / m2**3)
    assert torch.allclose(found, expected, atol=1e-5)


def test_equal_weights_have_none_and_no_gradient() -> None:
    for x in (torch.zeros(5, requires_grad=True), torch.full((5,), 0.3, requires_grad=True)):
        (gradient,) = torch.autograd.grad(kurtosis(x), x)
        assert bool(gradient.isfinite().all())


def test_the_mean_over_layers_of_the_squared_gap() -> None:
    two, three = torch.tensor([-1.0, 1.0]), torch.tensor([-1.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    seen = of(*(on(w, Grid(4), 0.1) for w in (two, three)))  # kurtosis 1 and 3
    assert loss(seen) == pytest.approx((0.8**2 + 1.2**2) / 2)
    assert loss(seen, target=3.0) == pytest.approx(2.0)


def test_descent_makes_normal_weights_uniform() -> None:
    own = on(torch.randn(400, generator=torch.Generator().manual_seed(0)), Grid(4), 0.3)
    optimiser = torch.optim.Adam([own.weight], lr=0.02)
    for _ in range(200):
        optimiser.zero_grad()
        ENTRY.make(of(own), ENTRY.options()).backward()
        optimiser.step()
    assert float(kurtosis(own.weight.detach())) == pytest.approx(1.8, abs=0.05)
