"""The affine formula: golden numbers, and properties that hold for every grid."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workbench.foundation.errors import RecipeError
from workbench.maths.grid import (
    Granularity,
    Grid,
    affine_range,
    dequantize,
    fake_quantize,
    quantize,
)
from workbench.maths.metrics import uniform_sqnr_db

TENSOR = Granularity()


def test_four_bit_unsigned_example() -> None:
    grid = Grid(4, signed=False, symmetric=False)
    scale, zero = affine_range(torch.tensor(-1.0), torch.tensor(3.0), grid)
    assert float(scale) == pytest.approx(0.26666667, abs=1e-7)
    assert float(zero) == 4
    x = torch.tensor([-1, -0.4, 0, 0.5, 1.7, 3, 5])
    codes = quantize(x, scale, zero, grid)
    assert codes.tolist() == [0, 2, 4, 6, 10, 15, 15]
    expected = [-1.06666667, -0.53333333, 0, 0.53333333, 1.6, 2.93333333, 2.93333333]
    assert dequantize(codes, scale, zero, grid).tolist() == pytest.approx(expected, abs=1e-6)


def test_ties_go_to_the_even_code() -> None:
    codes = quantize(
        torch.tensor([0.5, 1.5, 2.5, -0.5]), torch.tensor(1.0), torch.tensor(0.0), Grid(8)
    )
    assert codes.tolist() == [0, 2, 2, 0]


@pytest.mark.parametrize(
    ("bits", "decibels"), [(2, 9.5424), (3, 16.9020), (4, 23.5218), (8, 48.1308)]
)
def test_uniform_input_reaches_the_end_point_law(bits: int, decibels: float) -> None:
    x = torch.linspace(-1, 1, 1_000_001, dtype=torch.float64)
    grid = Grid(bits, signed=False, symmetric=False)
    step = torch.tensor(2.0 / (2**bits - 1), dtype=torch.float64)
    # end points are levels: shift by half a step count so that the zero-point may be fractional
    snapped = torch.round((x + 1) / step) * step - 1
    ratio = 10 * math.log10(float(x.square().sum() / (x - snapped).square().sum()))
    assert ratio == pytest.approx(decibels, abs=0.02)
    assert grid.qmax - grid.qmin == 2**bits - 1


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_end_point_law_holds_for_the_grid_itself(bits: int) -> None:
    x = torch.linspace(0, 2, 1_000_001, dtype=torch.float64)
    grid = Grid(bits, signed=False, symmetric=False)
    noise = fake_quantize(x, *affine_range(x.min(), x.max(), grid), grid) - x
    ratio = 10 * math.log10(float((x - 1).square().mean() / noise.square().mean()))
    assert ratio == pytest.approx(uniform_sqnr_db(bits), abs=0.02)


@pytest.mark.parametrize(
    ("bits", "decibels"), [(1, 6.0206), (2, 12.0412), (3, 18.0618), (4, 24.0824)]
)
def test_balanced_levels_reach_the_mid_rise_law(bits: int, decibels: float) -> None:
    grid = Grid(bits, table="balanced")
    step = 2 / 2**bits
    scale = torch.tensor(1 - step / 2)  # the outermost level, half a step inside the range
    x = torch.linspace(-1, 1, 1_000_001)
    noise = fake_quantize(x, scale, torch.tensor(0.0), grid) - x
    ratio = 10 * math.log10(float(x.square().mean() / noise.square().mean()))
    assert ratio == pytest.approx(decibels, abs=0.02)


def test_gradient_is_masked_before_rounding() -> None:
    grid = Grid(3)
    x = torch.tensor([-1.0, -0.33, 0.09, 0.27, 0.9], requires_grad=True)
    fake_quantize(x, torch.tensor(0.2), torch.tensor(0.0), grid).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_shapes_of_scales() -> None:
    assert TENSOR.shape((4, 6)) == ()
    assert Granularity("channel", 1).shape((4, 6)) == (6,)
    assert Granularity("group", 1, 4).shape((4, 6)) == (4, 2)
    assert Granularity("group", 0, 3).shape((4, 6)) == (2, 6)


@pytest.mark.parametrize(
    "granularity",
    [TENSOR, Granularity("channel", 1), Granularity("group", 0, 4), Granularity("group", 1, 5)],
)
def test_rows_give_each_scale_its_own_values(granularity: Granularity) -> None:
    x = torch.randn(8, 15)
    largest = granularity.rows(x).abs().amax(dim=1)
    scale = granularity.unrows(largest, x.shape)
    assert scale.shape == granularity.shape(x.shape)
    assert ((x.abs() / granularity.expand(scale, x)).max() - 1).abs() < 1e-6


@pytest.mark.parametrize("bits", [0, 33])
def test_impossible_bits_are_refused(bits: int) -> None:
    with pytest.raises(RecipeError, match=f"bits was '{bits}'"):
        Grid(bits)


def test_group_needs_a_size() -> None:
    with pytest.raises(RecipeError, match="size of at least 1"):
        Granularity("group", 0)


values = hnp.arrays("float32", (3, 8), elements=st.floats(-100, 100, width=32))
grids = st.builds(
    Grid,
    bits=st.integers(2, 8),
    signed=st.just(True),
    symmetric=st.booleans(),
    granularity=st.sampled_from([TENSOR, Granularity("channel", 0), Granularity("group", 1, 3)]),
)


@given(values, grids)
def test_on_grid_idempotent_and_within_half_a_step(x, grid: Grid) -> None:
    x = torch.from_numpy(x)
    rows = grid.granularity.rows(x)
    low = grid.granularity.unrows(rows.amin(1), x.shape)
    high = grid.granularity.unrows(rows.amax(1), x.shape)
    scale, zero = affine_range(low, high, grid)
    codes = quantize(x, scale, zero, grid)
    assert torch.equal(codes, codes.round())
    assert codes.min() >= grid.qmin
    assert codes.max() <= grid.qmax
    once = fake_quantize(x, scale, zero, grid)
    assert torch.equal(fake_quantize(once, scale, zero, grid), once)
    inside = (codes > grid.qmin) & (codes < grid.qmax)
    step = grid.granularity.expand(scale, x)
    assert bool(((once - x).abs() <= step * 0.5001 + 1e-6)[inside].all())


@given(st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=20))
def test_monotone(numbers: list[float]) -> None:
    x = torch.tensor(sorted(numbers))
    codes = quantize(x, torch.tensor(0.37), torch.tensor(2.0), Grid(4))
    assert bool((codes.diff() >= 0).all())


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=20), st.integers(2, 8))
def test_a_narrow_grid_is_odd(numbers: list[float], bits: int) -> None:
    x = torch.tensor(numbers)
    grid, scale, zero = Grid(bits, narrow=True), torch.tensor(0.37), torch.tensor(0.0)
    assert torch.equal(fake_quantize(-x, scale, zero, grid), -fake_quantize(x, scale, zero, grid))


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20), st.integers(2, 8))
def test_what_is_clipped_goes_to_the_nearer_end(numbers: list[float], bits: int) -> None:
    x, grid = torch.tensor(numbers), Grid(bits, signed=False, symmetric=False)
    scale, zero = affine_range(torch.tensor(-1.0), torch.tensor(3.0), grid)
    ends = dequantize(torch.tensor([float(grid.qmin), float(grid.qmax)]), scale, zero, grid)
    found = fake_quantize(x, scale, zero, grid)
    assert bool((found[x < ends[0]] == ends[0]).all())
    assert bool((found[x > ends[1]] == ends[1]).all())
    inside = (x >= ends[0]) & (x <= ends[1])
    assert bool(((found - x).abs()[inside] <= float(scale) * 0.5001).all())
