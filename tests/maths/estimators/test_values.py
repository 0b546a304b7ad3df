"""Gradient estimators against the numbers that their papers' equations give."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.foundation.errors import RecipeError
from workbench.maths.estimators.dsq import Dsq, DsqOptions
from workbench.maths.estimators.registry import make
from workbench.maths.estimators.reste import Reste, ResteOptions
from workbench.maths.estimators.tanh import Tanh, TanhOptions
from workbench.maths.grid import Grid, fake_quantize

UNIT = Grid(2, signed=False, symmetric=False)  # codes 0 to 3
U = torch.linspace(-0.5, 0.5, 101, dtype=torch.float64)


def gradient(name: str, x: float, upstream: float, **options: float) -> float:
    """What reaches `x` through four levels on [0, 1]."""
    value = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(1 / 3, dtype=torch.float64)
    zero = torch.zeros((), dtype=torch.float64)
    snapped = fake_quantize(value, scale, zero, UNIT, estimator=make(name, options))
    (found,) = torch.autograd.grad(upstream * snapped, value)
    return float(found)


# --- straight-through -----------------------------------------------------------------------------


@pytest.mark.parametrize("x", [-5.0, -0.01, 0.0, 0.2, 0.5, 1.0, 1.2, 9.0])
def test_ste_passes_everything(x: float) -> None:
    assert gradient("ste", x, 1.7) == pytest.approx(1.7)
    inside = 0 < x < 1
    assert gradient("clipped_ste", x, 1.7) == pytest.approx(1.7 if inside else 0)


def test_ste_does_not_tell_a_step_of_its_clipping() -> None:
    x = torch.tensor([-0.8, 0.2, 2.0, 3.1])
    for name, outside in [("ste", True), ("clipped_ste", False)]:
        s = torch.tensor(0.3, requires_grad=True)
        snapped = fake_quantize(x, s, torch.zeros(()), UNIT, estimator=make(name))
        (found,) = torch.autograd.grad((snapped - x).square().sum(), s)
        error = (snapped - x).detach()
        slope = error / 0.3 if outside else torch.tensor([0, float(error[1] / 0.3), 3, 3])
        assert float(found) == pytest.approx(float((2 * error * slope).sum()), rel=1e-5)
        assert (float(found) > 0) == outside  # only ever shrinks, or grows to cover the values


# --- EWGS -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "upstream", "expected"),
    [
        (0.2, 1, 0.97333333),
        (0.2, -1, -1.02666667),
        (0.45, 0.5, 0.51166667),
        (0.6, -2, -2.02666667),
    ],
)
def test_ewgs_catalogued_numbers(x: float, upstream: float, expected: float) -> None:
    assert gradient("ewgs", x, upstream, delta=0.2) == pytest.approx(expected, abs=1e-8)


@given(
    x=st.floats(-1, 2),
    upstream=st.floats(-10, 10),
    steps=st.integers(1, 255),
)
def test_ewgs_without_strength_is_straight_through(x: float, upstream: float, steps: int) -> None:
    value = torch.tensor(x * steps, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(upstream * make("ewgs", {"delta": 0}).round(value, steps), value)
    assert float(found) == upstream
    assert gradient("ewgs", x, upstream, delta=0) == gradient("clipped_ste", x, upstream)


@given(x=st.floats(0.01, 0.99), upstream=st.floats(-10, 10), delta=st.floats(0, 2))
def test_ewgs_scales_by_the_distance_in_the_range(x: float, upstream: float, delta: float) -> None:
    level = round(x * 3) / 3
    sign = (upstream > 0) - (upstream < 0)
    expected = upstream * (1 + delta * sign * (x - level))
    assert gradient("ewgs", x, upstream, delta=delta) == pytest.approx(expected, abs=1e-12)


# --- DSQ ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "s", "k"), [(0.2, 1.25, math.log(9)), (0.4, 1.66666667, 1.38629436)]
)
def test_dsq_catalogued_numbers(alpha: float, s: float, k: float) -> None:
    found = Dsq(DsqOptions(alpha=alpha))
    assert found.s == pytest.approx(s, abs=1e-8)
    assert found.s == pytest.approx(1 / math.tanh(found.k / 2))
    assert found.k == pytest.approx(k, abs=1e-8)
    edges = torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64)
    assert found.phi(edges).tolist() == pytest.approx([-1, 0, 1], abs=1e-12)
    slopes = found.slope(edges).tolist()
    assert slopes[1] == pytest.approx(s * k / 2, abs=1e-7)  # where the code changes
    assert slopes[0] == pytest.approx(s * k / 2 * (1 - (1 - alpha) ** 2), abs=1e-7)  # on a level


@given(x=st.floats(0.05, 0.95), alpha=st.floats(0.01, 0.5))
def test_dsq_derivative_by_differences(x: float, alpha: float) -> None:
    i, k, s = math.floor(3 * x), math.log(2 / alpha - 1), 1 / (1 - alpha)

    def staircase(at: float) -> float:
        return (i + (s * math.tanh(k * (3 * at - i - 0.5)) + 1) / 2) / 3

    expected = (staircase(x + 1e-6) - staircase(x - 1e-6)) / 2e-6
    assert gradient("dsq", x, 1, alpha=alpha) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("alpha", [0, -0.1, 0.51, float("nan")])
def test_dsq_refuses_what_is_no_distance(alpha: float) -> None:
    with pytest.raises(RecipeError, match="alpha"):
        make("dsq", {"alpha": alpha})


# --- tanh -----------------------------------------------------------------------------------------


@given(alpha=st.floats(0.01, 0.5))
def test_tanh_is_dsq_with_the_width_given(alpha: float) -> None:
    dsq = Dsq(DsqOptions(alpha=alpha))
    tanh = Tanh(TanhOptions(temperature=1 / dsq.k))
    assert torch.allclose(tanh.slope(U), dsq.slope(U), rtol=1e-9)


def test_tanh_follows_its_equation() -> None:
    expected = [(1 - math.tanh(u / 0.3) ** 2) / (0.6 * math.tanh(0.5 / 0.3)) for u in U.tolist()]
    found = Tanh(TanhOptions(temperature=0.3)).slope(U)
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_a_warm_tanh_is_nearly_straight_through() -> None:
    assert Tanh(TanhOptions(temperature=10)).slope(U).tolist() == pytest.approx([1] * 101, abs=2e-3)


# --- ReSTE ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("u", "expected"),
    [
        (0.5, 1 / 3),  # on a level: 1 / o
        (-0.5, 1 / 3),
        (0.0625, 4 / 3),  # |x| = 1/8: (1/8)^(-2/3) / 3
        (-0.0625, 4 / 3),
        (0.04, 10 ** (2 / 3)),  # the chord: 0.1^(-2/3)
        (0.0, 10 ** (2 / 3)),
    ],
)
def test_reste_by_hand(u: float, expected: float) -> None:
    found = Reste().slope(torch.tensor(u, dtype=torch.float64))
    assert float(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("options", [{"power": 1}, {"power": 3, "threshold": 1}])
def test_reste_without_a_root_is_straight_through(options: dict[str, float]) -> None:
    found = Reste(ResteOptions(**options)).slope(U)
    assert found.tolist() == pytest.approx([1] * 101)


def test_reste_is_continuous_where_the_chord_ends() -> None:
    reste = Reste(ResteOptions(power=3, threshold=0.125))
    around = torch.tensor([0.0625 - 1e-12, 0.0625 + 1e-12], dtype=torch.float64)
    assert reste.phi(around).tolist() == pytest.approx([0.5, 0.5], abs=1e-9)
