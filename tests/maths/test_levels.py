"""Level tables: catalogued levels, nearest ones, and what learns from a weight."""

from __future__ import annotations

import pytest
import torch

from workbench.foundation.errors import RecipeError
from workbench.maths import levels as tables
from workbench.maths.grid import (
    Granularity,
    Grid,
    affine_range,
    dequantize,
    fake_quantize,
    position,
    quantize,
)

NF4 = [-1, -0.69619280, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0]
NF4 += [0.07958030, 0.16093020, 0.24611230, 0.33791524, 0.44070983, 0.56261700, 0.72295684, 1]
ALL = [(name, bits) for name, table in tables.TABLES.items() for bits in table.bits]


def test_nf4_is_the_published_table() -> None:
    assert tables.levels("nf4", 4).tolist() == pytest.approx(NF4, abs=2e-6)


@pytest.mark.parametrize(
    ("bits", "positive"),
    [
        (3, [1 / 4, 1 / 2, 1]),
        (4, [0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1]),
        (5, [n / 48 for n in (1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32, 33, 36, 48)]),
    ],
)
def test_apot_is_the_published_table(bits: int, positive: list[float]) -> None:
    found = tables.levels("apot", bits)
    assert found[found > 0].tolist() == pytest.approx(positive, abs=1e-7)
    assert torch.equal(found, -found.flip(0))


@pytest.mark.parametrize(
    ("name", "dtype", "largest"),
    [("float8e4m3fn", torch.float8_e4m3fn, 448), ("float8e5m2", torch.float8_e5m2, 57344)],
)
def test_float8_levels_are_the_formats_own(name: str, dtype: torch.dtype, largest: float) -> None:
    found = tables.levels(name, 8)
    assert float(found[-1]) == largest
    assert torch.equal(found.to(dtype).float(), found)
    x = torch.randn(4000, generator=torch.Generator().manual_seed(0)) * 3
    middles = (found[1:] + found[:-1]) / 2
    off_ties = ~torch.isin(x, middles)
    rounded = found[tables.nearest_level(x, found)]
    assert torch.equal(rounded[off_ties], x.to(dtype).float()[off_ties])


@pytest.mark.parametrize(("name", "bits"), ALL)
def test_every_table_is_sorted_and_fits_its_codes(name: str, bits: int) -> None:
    found = tables.levels(name, bits)
    assert bool((found.diff() > 0).all())
    assert 2 <= len(found) <= 2**bits
    assert float(found[0]) < 0 < float(found[-1])


@pytest.mark.parametrize(("name", "bits"), ALL)
def test_nearest_idempotent_and_invertible(name: str, bits: int) -> None:
    grid = Grid(bits, granularity=Granularity("channel", 0), table=name)
    x = torch.randn(3, 50, generator=torch.Generator().manual_seed(bits))
    scale, zero = affine_range(x.amin(1), x.amax(1), grid)
    codes = quantize(x, scale, zero, grid)
    assert int(codes.min()) >= grid.qmin
    assert int(codes.max()) <= grid.qmax
    once = dequantize(codes, scale, zero, grid)
    assert torch.equal(quantize(once, scale, zero, grid), codes)
    assert torch.equal(fake_quantize(x, scale, zero, grid), once)
    every = grid.levels() * scale[:, None]
    best = (x[..., None] - every[:, None, :]).abs().amin(-1)
    assert torch.allclose((once - x).abs(), best, rtol=1e-5, atol=1e-7)
    inside = x.clamp(every[:, :1], every[:, -1:])
    back = dequantize(position(x, scale, zero, grid), scale, zero, grid)
    assert torch.allclose(back, inside, rtol=1e-5, atol=1e-6)


def test_a_tie_goes_to_the_lower_level() -> None:
    found = tables.levels("balanced", 2)
    assert tables.nearest_level(torch.tensor([0.0]), found).tolist() == [1]


def test_gradients_of_value_scale_and_level() -> None:
    grid = Grid(2, table="balanced")
    x = torch.tensor([-3.0, -0.5, 0.4, 1.1], requires_grad=True)
    scale = torch.tensor(2.0, requires_grad=True)
    levels = grid.levels().clone().requires_grad_()
    result = fake_quantize(x, scale, torch.tensor(0.0), grid, levels)
    assert result.tolist() == pytest.approx([-2, -2 / 3, 2 / 3, 2 / 3])
    result.sum().backward()
    assert x.grad is not None
    assert scale.grad is not None
    assert levels.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1]
    # -1 where clipped, L - x / s inside
    expected = -1 + (-1 / 3 + 0.25) + (1 / 3 - 0.2) + (1 / 3 - 0.55)
    assert float(scale.grad) == pytest.approx(expected)
    assert levels.grad.tolist() == [2, 2, 4, 0]


@pytest.mark.parametrize(
    ("bits", "positive"),
    [(1, [0.797885]), (2, [0.452780, 1.510418]), (3, [0.245094, 0.756005, 1.343909, 2.151946])],
)
def test_lloyd_max_of_normal_values(bits: int, positive: list[float]) -> None:
    shares = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    found = tables.lloyd_max(torch.special.ndtri(shares), 2**bits)
    assert found[2 ** (bits - 1) :].tolist() == pytest.approx(positive, abs=2e-3)


def test_lloyd_max_of_few_values_finds_them() -> None:
    x = torch.tensor([0.0, 0.0, 1.0, 1.0, 5.0]).repeat(10)
    assert tables.lloyd_max(x, 4).unique().tolist() == [0, 1, 5]


@pytest.mark.parametrize(
    ("table", "bits", "words"),
    [
        ("nf5", 4, "unknown table 'nf5'; choose one of: uniform, balanced"),
        ("nf4", 8, "table 'nf4' has no levels of '8' bits; choose '4'"),
        ("apot", 2, "choose '3' to '7'"),
    ],
)
def test_impossible_tables_are_refused(table: str, bits: int, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Grid(bits, table=table)


def test_a_table_has_no_zero_point() -> None:
    with pytest.raises(RecipeError, match="no zero-point"):
        Grid(4, symmetric=False, table="nf4")


def test_names_of_table_grids() -> None:
    assert Grid(4, table="nf4").describe() == "nf4 tensor"
    assert Grid(8, table="float8e5m2").describe() == "float8e5m2 tensor"
    assert Grid(3, table="apot").describe() == "apot3 tensor"
