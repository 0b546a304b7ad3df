"""The closest-point search against brute force."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.maths.closest import closest
from workbench.maths.grid import Grid
from workbench.maths.moments import Problem


def problem_of(groups: int, outputs: int, inputs: int, seed: int = 0) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(groups, inputs, inputs, generator=generator)
    target = torch.randn(groups, outputs, inputs, generator=generator)
    return Problem(target, mix @ mix.mT / inputs + 0.05 * torch.eye(inputs))


def brute_force(problem: Problem, scale: torch.Tensor, zero: torch.Tensor, grid: Grid):
    inputs = problem.target.shape[-1]
    every = torch.tensor(list(itertools.product(range(grid.qmin, grid.qmax + 1), repeat=inputs)))
    values = (every.float() - zero[..., None, None]) * scale[..., None, None]  # (G, O, all, K)
    gap = values - problem.target[:, :, None]
    errors = ((gap @ problem.hessian[:, None]) * gap).sum(-1)
    return errors.amin(-1)


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([(2, 6), (3, 4), (4, 3)]), st.booleans())
def test_a_long_list_finds_the_optimum_and_knows_it(seed: int, size, asymmetric: bool) -> None:
    bits, inputs = size
    problem = problem_of(2, 3, inputs, seed)
    grid = Grid(bits, signed=not asymmetric, symmetric=not asymmetric)
    scale = torch.full((1, 2, 3), 0.6)
    zero = torch.full_like(scale, 2.0 if asymmetric else 0.0)
    codes, error, proved = closest(problem, scale, zero, grid, width=64)
    best = brute_force(problem, scale[0], zero[0], grid)
    assert torch.allclose(error[0][proved[0]], best[proved[0]], rtol=1e-3, atol=1e-5)
    assert bool((error[0] >= best * (1 - 1e-3) - 1e-5).all())
    direct = problem.error((codes[0] - zero[0, ..., None]) * scale[0, ..., None])
    assert torch.allclose(direct, error[0], rtol=1e-3, atol=1e-5)


def test_nearly_all_rows_are_proved() -> None:
    problem = problem_of(40, 2, 6)
    scale = torch.full((3, 40, 2), 0.5)
    _, _, proved = closest(problem, scale, torch.zeros_like(scale), Grid(2), width=64)
    assert float(proved.float().mean()) > 0.9


def test_catalogued_gptq_example_is_solved_exactly() -> None:
    x = torch.tensor([[1, 0.9, 0.2], [0.8, 1, -0.1], [1.2, 1, 0.3], [0.1, 0.2, 1]])
    problem = Problem(torch.tensor([[[0.35, 0.34, -0.12]]]), (x.T @ x)[None])
    scale = torch.full((1, 1, 1), 0.25)
    codes, error, proved = closest(problem, scale, torch.zeros_like(scale), Grid(3), width=8)
    assert (codes * 0.25).flatten().tolist() == [0.25, 0.5, -0.25]
    assert float(error) == pytest.approx(0.020638, rel=1e-4)
    assert bool(proved)
