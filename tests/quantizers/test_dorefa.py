"""DoReFa's weights: the catalogued levels, on a grid of odd codes that is its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantizers.frozen_rounding import differences
from workbench.foundation.errors import RecipeError
from workbench.maths.grid import Granularity, Grid
from workbench.quantizers.codes import Codes
from workbench.quantizers.dorefa import DoReFa
from workbench.quantizers.lsq import LSQ
from workbench.quantizers.uniform import Uniform

WEIGHT = [-1.5, -0.2, 0, 0.3, 0.8]
CATALOGUED = {
    2: [-1, -1 / 3, 1 / 3, 1 / 3, 1],
    3: [-1, -1 / 7, 1 / 7, 3 / 7, 5 / 7],
    4: [-1, -0.2, 0.06666667, 0.33333333, 0.73333333],
}
GRANULARITIES = [Granularity(), Granularity("channel", 0), Granularity("group", 1, 4)]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.7 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bits", CATALOGUED)
def test_catalogued_numbers(bits: int) -> None:
    """As built, E = 1."""
    quantizer = DoReFa(Grid(bits), (5,))
    assert quantizer(torch.tensor(WEIGHT)).tolist() == pytest.approx(CATALOGUED[bits], abs=1e-7)


def test_one_bit_is_the_sign_times_the_mean_magnitude() -> None:
    weight = torch.tensor(WEIGHT)
    quantizer = DoReFa(Grid(1), (5,))
    quantizer.start(weight)
    mean = float(weight.abs().mean())
    assert quantizer(weight).tolist() == pytest.approx([-mean, -mean, mean, mean, mean])
    assert quantizer.frozen(weight).codes.tolist() == [-1, -1, 1, 1, 1]


@pytest.mark.parametrize("bits", range(1, 7))
def test_the_grid_is_one_of_odd_codes(bits: int) -> None:
    label = "binary" if bits == 1 else f"odd{bits}"
    asked = Grid(bits, signed=False, symmetric=False, granularity=Granularity("channel", 0))
    own = DoReFa.own_grid(asked)
    assert (own.bits, own.signed, own.symmetric, own.label) == (bits + 1, True, True, label)
    assert own.granularity == asked.granularity
    assert own.describe() == f"{label} channel"
    weight = drawn(6, 200)
    frozen = DoReFa(asked, (6, 200)).frozen(weight)
    assert frozen.grid == own
    assert set(frozen.codes.unique().tolist()) <= set(range(-(2**bits) + 1, 2**bits, 2))
    assert int(frozen.codes.abs().max()) == own.qmax == 2**bits - 1


@pytest.mark.parametrize("bits", [7, 8])
def test_many_bits_have_uniform_levels_with_a_zero(bits: int) -> None:
    own = DoReFa.own_grid(Grid(bits, signed=False, symmetric=False))
    assert own == Grid(bits, narrow=True)
    weight = torch.tensor(WEIGHT)
    quantizer = DoReFa(Grid(bits), (5,))
    expected = weight.tanh() / weight.tanh().abs().max()
    assert float((quantizer(weight) - expected).abs().max()) <= 0.5 / own.qmax + 1e-7
    assert float(quantizer(weight)[2]) == 0


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_scale_is_that_of_least_squares(granularity: Granularity, bits: int) -> None:
    weight = drawn(4, 6, 3, 3)
    quantizer = DoReFa(Grid(bits, granularity=granularity), tuple(weight.shape))
    quantizer.start(weight)
    scale = quantizer.affine()[0].clone()

    def errors() -> torch.Tensor:
        rows = granularity.rows(quantizer(weight) - weight)
        return granularity.unrows(rows.square().sum(1), weight.shape)

    least = errors()
    for share in (0.99, 1.01):
        quantizer.set_affine(scale * share, torch.zeros_like(scale))
        assert bool((errors() >= least).all())


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_gradient_goes_through_tanh_and_the_maximum_of_the_whole_tensor(granularity) -> None:
    weight = drawn(3, 7, seed=4).double().requires_grad_()
    quantizer = DoReFa(Grid(2, granularity=granularity), (3, 7)).double()
    quantizer.start(weight.detach())
    target = torch.linspace(-1, 1, 21, dtype=torch.float64).reshape(3, 7)

    def loss() -> torch.Tensor:
        return (quantizer(weight) * target).sum()

    loss().backward()
    expected = differences(quantizer, weight, loss)
    largest = int(weight.abs().argmax())
    assert float(expected.view(-1)[largest].abs()) > 1e-3
    assert weight.grad is not None
    assert float((weight.grad - expected).abs().max()) < 1e-7


@pytest.mark.parametrize("kind", [Uniform, LSQ, Codes])
@pytest.mark.parametrize("grid", [Grid(3), Grid(3, signed=False, symmetric=False), Grid(8)])
def test_takes_the_reach_of_a_calibrated_quantizer(kind, grid: Grid) -> None:
    weight = drawn(4, 30)
    plain, learner = kind(grid, (4, 30)), DoReFa(grid, (4, 30))
    plain.fit(weight, "minmax")
    learner.take(plain)
    largest = float(learner(weight).abs().max())
    step = float(plain.affine()[0].detach())
    assert largest == pytest.approx(float(weight.abs().max()), abs=step)


def test_fitting_it_to_a_weight_is_its_start() -> None:
    weight = drawn(4, 30)
    fitted, started = (DoReFa(Grid(3, granularity=GRANULARITIES[1]), (4, 30)) for _ in range(2))
    fitted.fit(weight, "minmax")
    started.start(weight)
    assert torch.equal(fitted.scale, started.scale)


def test_an_empty_channel_is_all_but_zero() -> None:
    weight = drawn(3, 8)
    weight[1] = 0
    for tensor in (weight, torch.zeros(3, 8)):
        quantizer = DoReFa(Grid(2, granularity=Granularity("channel", 0)), (3, 8))
        quantizer.start(tensor)
        assert bool((quantizer.affine()[0] > 0).all())
        assert float(quantizer(tensor)[1].abs().max()) < 1e-6


@given(
    bits=st.integers(1, 8),
    seed=st.integers(0, 2**16),
    spread=st.floats(1e-3, 10),
    granularity=st.sampled_from(GRANULARITIES),
)
@settings(max_examples=60, deadline=None)
def test_what_is_frozen_is_the_forward_bit_for_bit(bits, seed, spread, granularity) -> None:
    weight = drawn(4, 6, 3, 3, seed=seed) * spread
    quantizer = DoReFa(Grid(bits, granularity=granularity), tuple(weight.shape))
    quantizer.start(weight)
    frozen = quantizer.frozen(weight)
    assert torch.equal(frozen.values(), quantizer(weight.requires_grad_()))
    assert frozen.codes is not None
    assert bool((frozen.codes % 2 == 1).all()) or bits > 6


def test_tables_are_refused() -> None:
    with pytest.raises(RecipeError, match="'dorefa' has equal steps"):
        DoReFa(Grid(4, table="nf4"), (3, 4))
