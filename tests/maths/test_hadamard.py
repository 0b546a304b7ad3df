"""Hadamard matrices: orthogonality to the last bit, and what a rotation does to outliers."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.maths.hadamard import (
    block_hadamard,
    hadamard,
    random_orthogonal,
    randomised_hadamard,
)

ORDERS = (1, 2, 4, 8, 12, 16, 20, 24, 28, 36, 48, 60, 64, 96, 128, 192, 384, 576, 768)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n", ORDERS)
def test_rows_are_at_right_angles(n: int) -> None:
    h = hadamard(n)
    assert h is not None
    assert h.shape == (n, n)
    assert bool((h.abs() == 1).all())
    eye = torch.eye(n, dtype=torch.float64)
    assert torch.equal(h @ h.T, n * eye)
    normalised = h / math.sqrt(n)
    assert float((normalised @ normalised.T - eye).abs().max()) < 1e-12


@pytest.mark.parametrize("n", [3, 6, 10, 49])
def test_other_orders_are_not_made_up(n: int) -> None:
    assert hadamard(n) is None
    assert randomised_hadamard(n, generator()) is None


def test_a_large_entry_is_spread_over_all() -> None:
    h = hadamard(8)
    assert h is not None
    x = torch.zeros(8, dtype=torch.float64)
    x[3] = 100.0
    spread = (x @ h / math.sqrt(8)).abs()
    assert torch.allclose(spread, torch.full((8,), 35.35533906, dtype=torch.float64), atol=1e-8)


@pytest.mark.parametrize("n", [16, 20, 15])
def test_a_rotation_of_both_leaves_the_product(n: int) -> None:
    noise = generator(1)
    x = torch.randn(5, n, generator=noise, dtype=torch.float64)
    w = torch.randn(7, n, generator=noise, dtype=torch.float64)
    for q in (block_hadamard(n), random_orthogonal(n, noise), randomised_hadamard(n, noise)):
        if q is not None:
            assert torch.allclose((x @ q) @ (w @ q).T, x @ w.T, atol=1e-12)


def test_blocks_where_there_is_no_whole_matrix() -> None:
    q = block_hadamard(40 + 4)  # 44 = 43 + 1 has one
    assert bool((q != 0).all())
    blocks = block_hadamard(50)
    assert int((blocks != 0).sum()) == 100
    assert torch.equal(block_hadamard(7), torch.eye(7, dtype=torch.float64))


def test_seeds_differ_and_repeat() -> None:
    first, same, other = (randomised_hadamard(12, generator(s)) for s in (0, 0, 1))
    assert first is not None
    assert same is not None
    assert other is not None
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(random_orthogonal(5, generator()), random_orthogonal(5, generator()))
