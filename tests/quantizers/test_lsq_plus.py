"""LSQ+ against the catalogued numbers; its offset is an integer zero-point."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantizers.frozen_rounding import differences
from workbench.maths.grid import Granularity, Grid
from workbench.quantizers import lsq_plus
from workbench.quantizers.lsq import LSQ
from workbench.quantizers.lsq_plus import LSQPlus
from workbench.quantizers.uniform import Uniform

TWO_BITS = Grid(2, signed=False, symmetric=False)
#: x, x̂, ∂x̂/∂x, ∂x̂/∂s, ∂x̂/∂β
CATALOGUED = [
    (-0.8, -0.5, 0, 0, 1),
    (-0.32, -0.25, 1, 0.28, 0),
    (0.03, 0, 1, -0.12, 0),
    (0.1, 0, 1, -0.4, 0),
    (0.7, 0.25, 0, 3, 1),
]


@pytest.mark.parametrize(("value", "expected", "dx", "ds", "dbeta"), CATALOGUED)
def test_catalogued_numbers(value, expected, dx, ds, dbeta) -> None:
    quantizer = LSQPlus(TWO_BITS, (1,))
    quantizer.set_affine(torch.tensor(0.25), torch.tensor(2.0))
    assert float(quantizer.beta.detach()) == -0.5
    x = torch.tensor([value], requires_grad=True)
    result = quantizer(x)
    assert float(result.detach()) == expected
    result.sum().backward()
    factor = quantizer.gradient_factor(x)
    assert float(x.grad) == dx
    assert float(quantizer.scale.grad) / factor == pytest.approx(ds, abs=1e-5)
    found = float(quantizer.offset.grad) / factor / float(quantizer.span)
    assert found == pytest.approx(dbeta, abs=1e-6)


@pytest.mark.parametrize(
    "granularity", [Granularity(), Granularity("channel", 0), Granularity("group", 1, 4)]
)
def test_gradients_are_those_with_rounding_frozen(granularity, monkeypatch) -> None:
    """∂L/∂s and ∂L/∂β of the soft function, times g."""
    grid = Grid(3, signed=False, symmetric=False, granularity=granularity)
    x = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    quantizer = LSQPlus(grid, (3, 7)).double()
    quantizer.set_range(*(torch.full_like(quantizer.scale.detach(), v) for v in (-0.9, 1.3)))
    target = torch.linspace(-1, 1, 21, dtype=torch.float64).reshape(3, 7)

    def loss() -> torch.Tensor:
        return (quantizer(x) * target).sum()

    loss().backward()
    scale, zero_point = (part.detach().clone() for part in quantizer.affine())
    added = zero_point + quantizer.beta.detach() / scale
    monkeypatch.setattr(lsq_plus, "round_ste", lambda z: z + added)
    for parameter in (quantizer.scale, quantizer.offset):
        expected = differences(quantizer, parameter, loss) * quantizer.gradient_factor(x)
        assert parameter.grad is not None
        assert float((parameter.grad - expected).abs().max()) < 1e-6 * float(expected.abs().max())
        assert bool(expected.any())


def test_a_symmetric_grid_makes_it_lsq() -> None:
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    grid = Grid(4, granularity=Granularity("channel", 0))
    plus, plain = LSQPlus(grid, (4, 3, 3, 3)), LSQ(grid, (4, 3, 3, 3))
    plus.init_from(weight)
    plain.take(plus)
    assert {name for name, _ in plus.named_parameters()} == {"scale"}
    assert torch.equal(plus(weight), plain(weight))
    for quantizer in (plus, plain):
        quantizer(weight).square().sum().backward()
    assert torch.equal(plus.scale.grad, plain.scale.grad)


def test_weights_begin_at_three_sigma_of_each_channel() -> None:
    weight = torch.tensor([[1.0, 3.0], [-4.0, -2.0]])  # μ ± 3σ: [-1, 5], [-6, 0]
    quantizer = LSQPlus(Grid(4, granularity=Granularity("channel", 0)), (2, 2))
    quantizer.init_from(weight)
    assert quantizer.affine()[0].tolist() == [5 / 8, 6 / 8]
    lopsided = LSQPlus(Grid(4, False, False, Granularity("channel", 0)), (2, 2))
    lopsided.init_from(weight)
    assert lopsided.affine()[0].tolist() == pytest.approx([6 / 15, 6 / 15])
    assert lopsided.affine()[1].tolist() == [2, 15]


def test_activation_features_leave_out_the_batch() -> None:
    quantizer = LSQPlus(Grid(8, False, False), (0, 6))
    assert quantizer.gradient_factor(torch.zeros(50, 6)) == pytest.approx((6 * 255) ** -0.5)


def test_an_offset_beyond_the_codes_is_limited_and_comes_back() -> None:
    quantizer = LSQPlus(TWO_BITS, (3,))
    quantizer.set_affine(torch.tensor(0.5), torch.tensor(0.0))
    with torch.no_grad():
        quantizer.offset.fill_(0.9)
    assert float(quantizer.affine()[1].detach()) == 0
    quantizer(torch.tensor([-1.0, 0.2, 4.0])).sum().backward()
    assert float(quantizer.offset.grad) > 0


@given(
    scale=st.floats(1e-6, 1e4),
    offset=st.floats(-2, 2),
    bits=st.integers(1, 8),
    signed=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_zero_points_are_codes_and_the_forward_is_what_is_frozen(
    scale: float, offset: float, bits: int, signed: bool
) -> None:
    grid = Grid(bits, signed=signed, symmetric=False)
    quantizer = LSQPlus(grid, (64,))
    quantizer.set_affine(torch.tensor(scale), torch.tensor(float(grid.qmin)))
    with torch.no_grad():
        quantizer.offset.fill_(offset)
        quantizer.scale.mul_(1.3)
    zero_point = float(quantizer.affine()[1].detach())
    assert zero_point == round(zero_point)
    assert grid.qmin <= zero_point <= grid.qmax
    x = scale * torch.linspace(-(2.0**bits), 2.0**bits, 64)
    assert torch.equal(quantizer(x), quantizer.frozen(x).values())
    assert float(quantizer(torch.zeros(64)).detach().abs().max()) == 0


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_takes_any_zero_point_as_it_is(bits: int) -> None:
    grid = Grid(bits, signed=False, symmetric=False)
    for zero_point in {0, 1, grid.qmax // 3, grid.qmax}:
        plain = Uniform(grid, (0, 3))
        plain.set_affine(torch.tensor(0.0371), torch.tensor(float(zero_point)))
        learner = LSQPlus(grid, (0, 3))
        learner.take(plain)
        assert all(torch.equal(a, b) for a, b in zip(learner.affine(), plain.affine(), strict=True))
