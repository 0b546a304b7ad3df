"""Gram space: moments, compensation, scales, descent and bias against direct computation."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.maths import gram
from workbench.maths.grid import Granularity, Grid
from workbench.maths.moments import Moments, corrected_bias, pose

CHANNEL = Granularity("channel", 0)


def make(rows: int = 400, inputs: int = 12, outputs: int = 5, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, generator=generator)
    x = torch.randn(rows, inputs, generator=generator) @ mix + 0.5
    noisy = x + 0.1 * torch.randn(rows, inputs, generator=generator)
    weight = torch.randn(1, outputs, inputs, generator=generator)
    return x, noisy, weight


def moments_of(quantized: torch.Tensor, floats: torch.Tensor | None = None) -> Moments:
    moments = Moments(1, quantized.shape[-1])
    for index in range(0, len(quantized), 64):
        part = slice(index, index + 64)
        moments.add(quantized[None, part], None if floats is None else floats[None, part])
    return moments


def test_problem_error_is_the_output_error() -> None:
    x, _, weight = make()
    problem = pose(weight, moments_of(x), centred=False, damping=1e-9)
    other = weight + 0.1
    direct = ((x @ (other - weight)[0].T) ** 2).mean(0)
    assert torch.allclose(problem.error(other)[0], direct, rtol=1e-4)


def test_centred_error_is_the_output_error_after_the_best_bias() -> None:
    x, _, weight = make()
    problem = pose(weight, moments_of(x), centred=True, damping=1e-9)
    other = weight + 0.1
    gap = x @ (other - weight)[0].T
    assert torch.allclose(problem.error(other)[0], gap.var(0, unbiased=False), rtol=1e-3)


def test_compensated_target_is_the_least_squares_map() -> None:
    x, noisy, weight = make(rows=4000)
    moments = moments_of(noisy, x)
    target = pose(weight, moments, centred=False, damping=1e-9).target[0]
    direct = torch.linalg.lstsq(noisy.double(), x.double() @ weight[0].double().T).solution.T
    assert torch.allclose(target, direct.float(), atol=1e-3)


def test_equal_inputs_leave_the_weight_as_it_is() -> None:
    x, _, weight = make()
    target = pose(weight, moments_of(x), centred=True, damping=0.01).target
    assert torch.allclose(target, weight, atol=1e-5)


def test_catalogued_gptq_example_is_solved_to_its_optimum() -> None:
    # three samples per row of X; s = 0.25, codes -4..3; the optimum is known by brute force
    x = torch.tensor([[1, 0.9, 0.2], [0.8, 1, -0.1], [1.2, 1, 0.3], [0.1, 0.2, 1]])
    weight = torch.tensor([[[0.35, 0.34, -0.12]]])
    problem = pose(weight, moments_of(x), centred=False, damping=1e-9)
    grid, step = Grid(3), torch.full((1, 1, 1), 0.25)
    zero = torch.zeros_like(step)
    start = gram.nearest(problem, step, zero, gram.Points(grid))
    assert (start * step).flatten().tolist() == [0.25, 0.25, 0.0]
    assert float(problem.error(start * step)) * 4 == pytest.approx(0.096513, rel=1e-3)
    codes = gram.coordinate_descent(problem, start, step, zero, gram.Points(grid), sweeps=10)
    found = float(problem.error(codes * step)) * 4
    every = itertools.product(range(grid.qmin, grid.qmax + 1), repeat=3)
    best = min(float(problem.error(torch.tensor([[c]]) * step)) * 4 for c in every)
    assert best == pytest.approx(0.020638, rel=1e-2)
    assert found <= 0.096513
    assert found == pytest.approx(best, rel=2.5)


@given(st.integers(0, 10_000), st.integers(2, 4))
def test_descent_never_raises_the_error(seed: int, bits: int) -> None:
    x, noisy, weight = make(rows=60, seed=seed)
    problem = pose(weight, moments_of(noisy, x), centred=True, damping=0.01)
    grid = Grid(bits, granularity=CHANNEL)
    scale, zero = gram.search_scale(problem, gram.Points(grid))
    start = gram.nearest(problem, scale, zero, gram.Points(grid))
    after = gram.coordinate_descent(problem, start, scale, zero, gram.Points(grid), sweeps=4)
    before_error, after_error = problem.error(start * scale), problem.error(after * scale)
    assert bool((after_error <= before_error * (1 + 1e-4) + 1e-7).all())
    assert after.min() >= grid.qmin
    assert after.max() <= grid.qmax


def test_blocks_of_columns_give_what_single_columns_give(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _, weight = make(inputs=40)
    problem = pose(weight, moments_of(x), centred=True, damping=0.01)
    grid = Grid(3, granularity=CHANNEL)
    scale, zero = gram.search_scale(problem, gram.Points(grid))
    start = gram.nearest(problem, scale, zero, gram.Points(grid))
    whole = gram.coordinate_descent(problem, start, scale, zero, gram.Points(grid), sweeps=3)
    monkeypatch.setattr(gram, "BLOCK", 7)
    assert torch.equal(
        gram.coordinate_descent(problem, start, scale, zero, gram.Points(grid), sweeps=3), whole
    )


@pytest.mark.parametrize(
    "granularity", [CHANNEL, Granularity("group", 1, 5), Granularity()], ids=lambda g: g.kind
)
def test_refitted_scales_are_the_best_for_their_codes(granularity: Granularity) -> None:
    x, _, weight = make()
    problem = pose(weight, moments_of(x), centred=True, damping=0.01)
    points = gram.Points(Grid(3, granularity=granularity))
    scale, zero = gram.search_scale(problem, points)
    codes = gram.nearest(problem, scale, zero, points)
    best = gram.refit_scale(problem, codes, scale, zero, points)

    def error(tried: torch.Tensor) -> float:
        return float(problem.error(codes * points.expand(tried, 12)).sum())

    assert not torch.equal(best, scale)
    assert error(best) < error(scale)
    for block in range(best.shape[-1]):
        for factor in (0.98, 1.02):
            other = best.clone()
            other[..., block] *= factor
            assert error(best) <= error(other)


@pytest.mark.parametrize("size", [12, 5, 3])
def test_group_scales_have_their_own_blocks(size: int) -> None:
    x, _, weight = make()
    problem = pose(weight, moments_of(x), centred=True, damping=0.01)
    grid = Grid(3, granularity=Granularity("group", 1, size))
    scale, zero = gram.search_scale(problem, gram.Points(grid))
    assert scale.shape == (1, 5, -(-12 // size))
    assert gram.Points(grid).expand(scale, 12).shape == weight.shape
    assert bool((zero == 0).all())


def test_bias_correction_golden() -> None:
    moments = Moments(1, 3)
    moments.add(torch.tensor([[[1.0, 2.0, 0.5]]]))
    weight, rounded = torch.tensor([[[0.34, -0.62, 0.18]]]), torch.tensor([[[0.25, -0.5, 0.25]]])
    assert float(corrected_bias(weight, rounded, moments)) == pytest.approx(-0.185, abs=1e-6)
