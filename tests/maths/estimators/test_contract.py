"""Every gradient estimator: forward as usual, backward finite, and what its soft function says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from workbench.foundation.errors import RecipeError
from workbench.foundation.options import controls
from workbench.foundation.taxonomy import STRATEGIES, cells
from workbench.maths.estimators.registry import ESTIMATORS, make
from workbench.maths.grid import Granularity, Grid, fake_quantize
from workbench.quantizers.lsq import LSQ

GRIDS = [Grid(1), Grid(2, False, False), Grid(4), Grid(8), Grid(4, narrow=True)]
VALUES = st.lists(st.floats(-40, 40, width=32), min_size=1, max_size=40)
every = pytest.mark.parametrize("name", ESTIMATORS.names())
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=Grid.describe)


def slopes(name: str, x: Tensor, steps: int = 7, upstream: float = 1.0) -> Tensor:
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(upstream * make(name).round(x, steps).sum(), x)
    return found


@every
class TestContract:
    def test_says_what_it_is(self, name: str) -> None:
        entry = ESTIMATORS[name]
        assert entry.title
        assert entry.citation
        assert entry.description.endswith(".")
        assert set(entry.facts) >= {"data", "cost", "use"}
        assert cells(entry.facts["cells"])
        assert entry.facts["strategy"] in STRATEGIES
        assert all(control.help for control in controls(entry.options))

    def test_takes_its_options_and_no_others(self, name: str) -> None:
        given = ESTIMATORS.parsed(name).model_dump()
        assert isinstance(make(name, given), type(make(name)))
        with pytest.raises(RecipeError, match="has no option 'sharpness'"):
            make(name, {"sharpness": 1})

    @given(values=VALUES)
    def test_rounds_as_torch_does(self, name: str, values: list[float]) -> None:
        x = torch.tensor(values, requires_grad=True)
        assert torch.equal(make(name).round(x, 80), x.round())

    @given(values=VALUES)
    def test_the_gradient_is_finite_and_keeps_its_sign(
        self, name: str, values: list[float]
    ) -> None:
        x = torch.tensor([*values, 0.0, 0.5, 1.5, -0.5, 3.0])
        for upstream in (2.0, -2.0):
            found = slopes(name, x, upstream=upstream)
            assert bool(found.isfinite().all())
            assert bool((found * upstream > 0).all())

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_keeps_the_type(self, name: str, dtype: torch.dtype) -> None:
        x = torch.linspace(-3, 3, 41, dtype=dtype)
        assert slopes(name, x).dtype == dtype
        assert bool(slopes(name, x).isfinite().all())

    @every_grid
    def test_the_values_on_a_grid_are_the_same(self, name: str, grid: Grid) -> None:
        x = torch.randn(400) * 3
        x[:5] = torch.tensor([0.0, 0.15, -0.15, 1e6, -1e6])
        scale, zero_point = torch.tensor(0.3), torch.tensor(float(max(grid.qmin, 0)))
        plain = fake_quantize(x, scale, zero_point, grid)
        x.requires_grad_()
        found = fake_quantize(x, scale, zero_point, grid, estimator=make(name))
        assert torch.equal(found, plain)
        found.square().sum().backward()
        assert bool(x.grad.isfinite().all())

    def test_the_slope_is_one_on_average_over_a_cell(self, name: str) -> None:
        middles = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000  # level to level
        assert float(slopes(name, middles - 3).mean()) == pytest.approx(1, abs=1e-5)

    @pytest.mark.parametrize("channels", [False, True])
    def test_a_quantizer_takes_it(self, name: str, channels: bool) -> None:
        granularity = Granularity("channel", 0) if channels else Granularity()
        weight = torch.randn(6, 5, 3, 3)
        quantizer = LSQ(Grid(3, granularity=granularity), tuple(weight.shape))
        quantizer.init_from(weight)
        before, codes = quantizer(weight).detach(), quantizer.codes(weight)
        quantizer.estimator = make(name)
        weight.requires_grad_()
        after = quantizer(weight)
        assert torch.equal(after, before)
        assert torch.equal(quantizer.codes(weight), codes)
        (after * torch.randn(after.shape)).sum().backward()
        for gradient in (weight.grad, quantizer.scale.grad):
            assert bool(gradient.isfinite().all())
            assert bool((gradient != 0).any())


@pytest.mark.parametrize("name", [name for name in ESTIMATORS.names() if name != "ewgs"])
def test_the_gradient_is_the_derivative_of_the_soft_function(name: str) -> None:
    x = (torch.rand(999, dtype=torch.float64) * 14 - 7).requires_grad_()
    (derived,) = torch.autograd.grad(make(name).soft(x).sum(), x)
    assert torch.allclose(slopes(name, x.detach()), derived, rtol=1e-10, atol=1e-12)


def test_what_depends_on_its_own_sign_has_no_soft_function() -> None:
    assert make("ewgs").soft(torch.zeros(3)) is None


@pytest.mark.parametrize("name", ["dsq", "reste", "tanh"])
def test_a_soft_staircase_meets_the_hard_one_on_the_levels(name: str) -> None:
    estimator = make(name)
    levels = torch.arange(-4.0, 5.0, dtype=torch.float64)
    for nearly in (levels, levels - 1e-9, levels + 1e-9):
        assert torch.allclose(estimator.soft(nearly), levels, atol=1e-7)
    assert torch.allclose(estimator.soft(levels + 0.5), levels + 0.5)
