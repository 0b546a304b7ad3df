"""TQT: the catalogued gradient, and steps that are powers of two, exactly."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantizers.frozen_rounding import FrozenRounding, differences
from workbench.maths.grid import Granularity, Grid
from workbench.quantizers.registry import QUANTIZERS
from workbench.quantizers.tqt import TQT, TQTOptions
from workbench.quantizers.uniform import Uniform

X = [-3, -0.6, 0.1, 0.77, 2.5]
FREE = TQTOptions(power_of_two=False)


def at(threshold: float, grid: Grid, options: TQTOptions | None = None) -> TQT:
    quantizer = TQT(grid, (5,), options)
    with torch.no_grad():
        quantizer.log2_t.fill_(math.log2(threshold))
    return quantizer


def test_catalogued_numbers() -> None:
    """t = 1.3, 4 bits."""
    quantizer = at(1.3, Grid(4))
    assert float(quantizer.affine()[0]) == 0.25
    assert float(at(1.3, Grid(4, signed=False)).affine()[0]) == 0.125
    result = quantizer(torch.tensor(X))
    assert result.tolist() == [-2, -0.5, 0, 0.75, 1.75]
    rows = [torch.autograd.grad(r, quantizer.log2_t, retain_graph=True)[0] for r in result]
    expected = [-1.38629436, 0.06931472, -0.06931472, -0.01386294, 1.21300757]
    assert [float(row) for row in rows] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "granularity", [Granularity(), Granularity("channel", 0), Granularity("group", 1, 4)]
)
@pytest.mark.parametrize("signed", [True, False])
def test_gradients_are_those_with_rounding_frozen(granularity, signed: bool) -> None:
    """Without the ceiling, whose gradient passes unchanged, the thresholds move freely."""
    quantizer = TQT(Grid(3, signed, signed, granularity), (3, 7), FREE).double()
    x = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.linspace(-1, 1, 21, dtype=torch.float64).reshape(3, 7)

    def loss() -> torch.Tensor:
        return (quantizer(x) * target).sum()

    loss().backward()
    expected = differences(quantizer, quantizer.log2_t, loss)
    assert bool(expected.any())
    assert quantizer.log2_t.grad is not None
    assert float((quantizer.log2_t.grad - expected).abs().max()) < 1e-7


@given(log2_t=st.floats(-60, 60), bits=st.integers(1, 8), signed=st.booleans())
@settings(max_examples=100, deadline=None)
def test_scales_are_powers_of_two(log2_t: float, bits: int, signed: bool) -> None:
    quantizer = TQT(Grid(bits, signed), (3,))
    with torch.no_grad():
        quantizer.log2_t.fill_(log2_t)
    scale = float(quantizer.frozen().scale)
    assert math.frexp(scale)[0] == 0.5
    threshold = 2 ** float(quantizer.log2_t.detach())
    width = scale * 2 ** (bits - signed)
    assert threshold * (1 - 1e-6) <= width <= 2 * threshold * (1 + 1e-6)


@given(exponent=st.integers(-90, 60), bits=st.integers(1, 8), kind=st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_power_of_two_is_taken_as_it_is(exponent: int, bits: int, kind: bool) -> None:
    grid = Grid(bits, kind, kind)
    first, second = TQT(grid, (3,)), TQT(grid, (3,))
    first.set_affine(torch.tensor(2.0**exponent), torch.tensor(0.0))
    second.take(first)
    assert float(second.affine()[0]) == float(first.affine()[0]) == 2.0**exponent


@pytest.mark.parametrize("grid", [Grid(8), Grid(3), Grid(4, narrow=True), Grid(4, False)])
@pytest.mark.parametrize("largest", [0.5, 1.0, 4.0])
def test_a_range_that_is_a_power_of_two_is_not_doubled(grid: Grid, largest: float) -> None:
    plain, taking, ranged = Uniform(grid, (5,)), TQT(grid, (5,)), TQT(grid, (5,))
    plain.set_range(torch.tensor(-largest if grid.signed else 0.0), torch.tensor(largest))
    taking.take(plain)
    ranged.set_range(torch.tensor(-largest if grid.signed else 0.0), torch.tensor(largest))
    for quantizer in (taking, ranged):
        assert float(quantizer.affine()[0]) == largest / 2 ** (grid.bits - grid.signed)


def test_a_zero_point_stays_while_the_step_is_rounded_up() -> None:
    plain, quantizer = (kind(Grid(8, False, False), (0, 5)) for kind in (Uniform, TQT))
    plain.set_range(torch.tensor(-0.17), torch.tensor(2.9))
    quantizer.take(plain)
    assert torch.equal(quantizer.affine()[1], plain.affine()[1])
    assert float(quantizer.affine()[0]) == 2**-6
    values = quantizer(torch.tensor([-0.17, 2.9]))
    assert values.tolist() == pytest.approx([-0.17, 2.9], abs=2**-7)


def test_without_powers_of_two_only_the_logarithm_is_left() -> None:
    plain, quantizer = Uniform(Grid(4), (5,)), TQT(Grid(4), (5,), FREE)
    plain.set_range(torch.tensor(-1.3), torch.tensor(1.3))
    quantizer.take(plain)
    torch.testing.assert_close(quantizer.affine()[0].detach(), plain.affine()[0])
    assert float(at(1.3, Grid(4), FREE).affine()[0]) == pytest.approx(1.3 / 8)


def test_the_option_is_stored_with_the_state() -> None:
    free, again = at(1.3, Grid(4), FREE), TQT(Grid(4), (5,))
    again.load_state_dict(free.state_dict())
    assert float(again.affine()[0]) == float(free.affine()[0])
    options = QUANTIZERS.parsed("tqt", {"power_of_two": False})
    assert not QUANTIZERS["tqt"].make(Grid(4), (5,), options).power_of_two


def test_its_rate_is_not_a_share_of_the_logarithm() -> None:
    assert TQT.absolute == {"log2_t"}


def test_the_estimator_has_its_say() -> None:
    quantizer = at(1.3, Grid(4))
    quantizer.estimator = FrozenRounding()
    quantizer(torch.tensor(X))
    assert quantizer.estimator.added is not None
