"""GPTQ against its catalogued example, brute force and plain rounding."""

from __future__ import annotations

import itertools

import pytest
import torch

from workbench.foundation.errors import RecipeError
from workbench.maths import gram
from workbench.maths.gptq import inverse_factor, pose_as_paper, round_columns
from workbench.maths.grid import Granularity, Grid, affine_range
from workbench.maths.moments import Moments, Problem

X = torch.tensor([[1, 0.9, 0.2], [0.8, 1, -0.1], [1.2, 1, 0.3], [0.1, 0.2, 1]])
WEIGHT = torch.tensor([[[0.35, 0.34, -0.12]]])
STEP = torch.full((1, 1, 1), 0.25)
GRID = Grid(3)


def random_problem(outputs: int = 6, inputs: int = 40, groups: int = 1) -> Problem:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(groups, 200, inputs, generator=generator)
    x = x @ torch.randn(groups, inputs, inputs, generator=generator)
    moments = Moments(groups, inputs)
    moments.add(x)
    return pose_as_paper(torch.randn(groups, outputs, inputs, generator=generator), moments, 0.01)


def scales(problem: Problem, grid: Grid, blocks: int = 1):
    parts = problem.target.unflatten(-1, (blocks, -1))
    return affine_range(parts.amin(-1), parts.amax(-1), grid)


def test_a_singular_hessian_names_the_cure() -> None:
    with pytest.raises(RecipeError, match="give a larger 'damping'"):
        inverse_factor(torch.ones(1, 4, 4))


def test_worked_example_has_the_catalogued_factor_codes_and_errors() -> None:
    hessian = 2 * X.T @ X
    assert hessian.flatten().tolist() == pytest.approx(
        [6.18, 5.84, 1.16, 5.84, 5.70, 1.16, 1.16, 1.16, 2.28], rel=1e-5
    )
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(3)
    assert inverse_factor(damped[None])[0].flatten().tolist() == pytest.approx(
        [1.84826168, -1.88144389, 0.01653978, 0, 0.43984227, -0.21924073, 0, 0, 0.65551577],
        rel=1e-5,
    )
    codes, _, _ = round_columns(
        Problem(WEIGHT, damped[None]), gram.Points(GRID), STEP, torch.zeros_like(STEP)
    )
    assert (codes * STEP).flatten().tolist() == [0.25, 0.5, -0.25]

    def error(values: torch.Tensor) -> float:
        return float(((values - WEIGHT)[0] @ X.T).square().sum())

    nearest = (WEIGHT / STEP).round() * STEP
    assert error(nearest) == pytest.approx(0.096513, abs=1e-6)
    assert error(codes * STEP) == pytest.approx(0.020638, abs=1e-6)
    every = itertools.product(range(GRID.qmin, GRID.qmax + 1), repeat=3)
    best = min(error(torch.tensor([[c]]) * STEP) for c in every)
    assert error(codes * STEP) == pytest.approx(best, abs=1e-7)


def test_white_inputs_give_plain_rounding() -> None:
    target = torch.randn(1, 5, 24, generator=torch.Generator().manual_seed(1))
    problem = Problem(target, torch.eye(24)[None])
    grid = Grid(4)
    scale, zero = scales(problem, grid)
    codes, _, _ = round_columns(problem, gram.Points(grid), scale, zero)
    assert torch.equal(codes, gram.nearest(problem, scale, zero, gram.Points(grid)))


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("ordered", [False, True])
def test_blocks_change_nothing_and_the_error_falls(groups: int, ordered: bool) -> None:
    problem, grid = random_problem(groups=groups), Grid(3, granularity=Granularity("channel", 0))
    scale, zero = scales(problem, grid)
    points = gram.Points(grid)
    heavy = problem.hessian.diagonal(dim1=1, dim2=2).mean(0).argsort(descending=True)
    order = heavy if ordered else None
    whole, _, _ = round_columns(problem, points, scale, zero, order=order, block=64)
    parts, _, _ = round_columns(problem, points, scale, zero, order=order, block=7)
    assert float((whole != parts).float().mean()) < 0.01  # float32 ties
    start = gram.nearest(problem, scale, zero, points)
    assert float(problem.error(whole * scale).sum()) < 0.6 * float(
        problem.error(start * scale).sum()
    )


def test_each_column_is_the_best_answer_to_those_before() -> None:
    problem, grid = random_problem(outputs=1, inputs=12), Grid(3)
    scale, zero = scales(problem, grid)
    codes, _, _ = round_columns(problem, gram.Points(grid), scale, zero)
    done = (codes * scale)[0, 0]
    hessian, target = problem.hessian[0].double(), problem.target[0, 0].double()
    for j in range(1, 12):
        gap = (done[:j] - target[:j]).double()
        best = target[j:] - torch.linalg.solve(hessian[j:, j:], hessian[j:, :j] @ gap)
        nearest = (best[0] / scale.flatten()[0]).round().clamp(grid.qmin, grid.qmax)
        assert float(nearest) == float(codes[0, 0, j])


def test_scales_of_groups_are_refitted_to_what_is_left() -> None:
    problem, grid = random_problem(inputs=48), Grid(3, granularity=Granularity("group", 1, 16))
    scale, zero = scales(problem, grid, blocks=3)

    def fit(columns: torch.Tensor):
        low, high = columns.amin(-1, keepdim=True), columns.amax(-1, keepdim=True)
        return affine_range(low, high, grid)

    codes, moved, _ = round_columns(problem, gram.Points(grid), scale, zero, block=10, refit=fit)
    assert moved.shape == scale.shape
    assert torch.allclose(moved[..., 0], scale[..., 0])
    assert not torch.allclose(moved[..., 2], scale[..., 2])
    static, _, _ = round_columns(problem, gram.Points(grid), scale, zero, block=10)
    assert not torch.equal(static, codes)


def test_dead_inputs_get_codes_of_zero() -> None:
    moments = Moments(1, 4)
    x = torch.randn(1, 50, 4, generator=torch.Generator().manual_seed(3))
    x[..., 2] = 0
    moments.add(x)
    problem = pose_as_paper(torch.ones(1, 2, 4), moments, 0.01)
    scale, zero = scales(problem, GRID)
    codes, _, _ = round_columns(problem, gram.Points(GRID), scale, zero)
    assert codes[0, :, 2].tolist() == [0.0, 0.0]
