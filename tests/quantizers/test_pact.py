"""PACT: the catalogued numbers, and clips that hear only of what they clip."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantizers.frozen_rounding import FrozenRounding
from workbench.foundation.errors import RecipeError
from workbench.maths.grid import Granularity, Grid
from workbench.quantizers.pact import Pact
from workbench.quantizers.registry import QUANTIZERS
from workbench.quantizers.uniform import Uniform


def test_catalogued_numbers() -> None:
    """α = 6, 4 bits."""
    quantizer = Pact(Grid(4, signed=False, symmetric=True), (0,))
    quantizer.set_affine(torch.tensor(6 / 15), torch.tensor(0.0))
    assert float(quantizer.alpha.detach()) == pytest.approx(6)
    x = torch.tensor([-1.0, 0.5, 3.1, 7.0], requires_grad=True)
    result = quantizer(x)
    assert result.tolist() == pytest.approx([0, 0.4, 3.2, 6], abs=1e-6)
    rows = [torch.autograd.grad(r, quantizer.alpha, retain_graph=True)[0] for r in result]
    assert [float(row) for row in rows] == [0, 0, 0, 1]
    result.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]


def test_what_lies_on_the_clip_is_clipped() -> None:
    quantizer = Pact(Grid(4, signed=False, symmetric=True), (0,))
    with torch.no_grad():
        quantizer.alpha.fill_(7.5)
    x = torch.tensor([7.5], requires_grad=True)
    quantizer(x).sum().backward()
    assert float(quantizer.alpha.grad) == 1
    assert float(x.grad) == 0


def test_the_lower_clip_of_a_grid_with_a_zero_point() -> None:
    quantizer = Pact(Grid(4, signed=False, symmetric=False), (0,))
    quantizer.set_affine(torch.tensor(0.2), torch.tensor(5.0))  # [-1, 2]
    assert [float(clip.detach()) for clip in quantizer.clips()] == pytest.approx([-1, 2])
    x = torch.tensor([-3.0, -1.5, -0.3, 0.0, 1.1, 9.0], requires_grad=True)
    quantizer(x).sum().backward()
    assert float(quantizer.alpha.grad) == 1
    assert float(quantizer.beta.grad) == 2  # held as β itself, which is below 0 here
    assert x.grad.tolist() == [0, 0, 1, 1, 1, 0]


def test_a_lower_clip_at_zero_stays() -> None:
    quantizer = Pact(Grid(8, signed=False, symmetric=False), (0,))
    quantizer.set_range(torch.tensor(0.0), torch.tensor(3.0))
    quantizer(torch.tensor([0.0, 0.0, 1.0])).sum().backward()
    assert float(quantizer.beta.grad) == 0
    assert float(quantizer.affine()[1].detach()) == 0


def test_a_signed_symmetric_grid_is_clipped_on_both_sides_by_one_number() -> None:
    quantizer = Pact(Grid(4), (0,))
    quantizer.set_range(torch.tensor(-3.0), torch.tensor(2.0))
    assert float(quantizer.alpha.detach()) == pytest.approx(3)
    quantizer(torch.tensor([-5.0, -4.0, 1.0, 9.0])).sum().backward()
    assert {name for name, _ in quantizer.named_parameters()} == {"alpha"}
    assert float(quantizer.alpha.grad) == 1 - 2


@pytest.mark.parametrize(
    "grid", [Grid(4, False, True), Grid(3, False, False), Grid(5), Grid(8, True, False)]
)
def test_clips_move_as_a_clipped_value_does(grid: Grid) -> None:
    """The derivative of clip(x, low, high), by finite differences: rounding has no part in it."""
    quantizer = Pact(grid, (0, 50)).double()
    step = torch.tensor(2.1 / (grid.qmax - grid.qmin))
    quantizer.set_affine(step, torch.tensor(0.0 if grid.symmetric else 2.0))
    x = 2 * torch.randn(4, 50, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    target = torch.randn(4, 50, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    (quantizer(x) * target).sum().backward()
    for parameter in quantizer.parameters():
        sides = []
        for step in (1e-6, -2e-6):
            with torch.no_grad():
                parameter.add_(step)
                sides.append(float((x.clamp(*quantizer.clips()) * target).sum()))
        assert float(parameter.grad) == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-6)
        assert bool(parameter.grad)


def test_channels_have_clips_of_their_own() -> None:
    quantizer = Pact(Grid(4, False, True, Granularity("channel", 1)), (0, 3, 2))
    quantizer.set_affine(torch.tensor([0.1, 0.2, 0.3]), torch.zeros(3))
    quantizer(torch.full((5, 3, 2), 3.5)).sum().backward()
    assert quantizer.alpha.grad.tolist() == [10, 10, 0]


def test_the_estimator_has_its_say() -> None:
    quantizer = Pact(Grid(4, False, True), (0,))
    quantizer.estimator = FrozenRounding()
    quantizer(torch.tensor([0.3]))
    assert quantizer.estimator.added is not None


@given(
    alpha=st.floats(-1e4, 1e4),
    beta=st.floats(-1e4, 1e4),
    bits=st.integers(1, 8),
    kind=st.sampled_from([(False, True), (False, False), (True, False), (True, True)]),
)
@settings(max_examples=60, deadline=None)
def test_scales_are_positive_and_zero_is_a_level(alpha, beta, bits, kind) -> None:
    quantizer = Pact(Grid(bits, *kind), (64,))
    with torch.no_grad():
        for parameter, value in zip(quantizer.parameters(), (alpha, beta), strict=False):
            parameter.fill_(value)
    scale, zero_point = quantizer.affine()
    assert float(scale.detach()) > 0
    assert quantizer.grid.qmin <= float(zero_point.detach()) <= quantizer.grid.qmax
    x = (abs(alpha) + abs(beta)) * torch.linspace(-2, 2, 64)
    assert torch.equal(quantizer(x), quantizer.frozen(x).values())
    assert float(quantizer(torch.zeros(64)).detach().abs().max()) == 0


@pytest.mark.parametrize("kind", [(False, True), (False, False), (True, False), (True, True)])
@pytest.mark.parametrize("bits", [2, 8])
def test_takes_a_calibrated_range(bits: int, kind: tuple[bool, bool]) -> None:
    grid = Grid(bits, *kind)
    plain, learner = Uniform(grid, (0, 3)), Pact(grid, (0, 3))
    plain.set_range(torch.tensor(-0.713), torch.tensor(1.91))
    learner.take(plain)
    assert torch.equal(learner.affine()[1], plain.affine()[1])
    torch.testing.assert_close(learner.affine()[0].detach(), plain.affine()[0])


def test_it_is_for_activations_with_equal_steps() -> None:
    assert QUANTIZERS["pact"].facts["activations_only"]
    with pytest.raises(
        RecipeError, match=r"'pact' has equal steps .* 'nf4'; use quantizer 'table'"
    ):
        Pact(Grid(4, table="nf4"), (0, 3))
