"""Learnable weight quantizers: where they begin, and which way their gradients point."""

from __future__ import annotations

import pytest
import torch

from workbench.maths.clipping import clipped_affine
from workbench.maths.grid import Granularity, Grid, fake_quantize
from workbench.quantizers.registry import QUANTIZERS

CHANNEL = Granularity("channel", 0)
GRIDS = [
    Grid(4, granularity=CHANNEL),
    Grid(3, signed=False, symmetric=False, granularity=CHANNEL),
    Grid(4, signed=False, symmetric=False, granularity=Granularity("group", 1, 4)),
]
LEARNERS = [entry.name for entry in QUANTIZERS if "learns" in entry.facts]


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(6, 10, generator=torch.Generator().manual_seed(3))


def started(name: str, grid: Grid, weight: torch.Tensor):
    plain = QUANTIZERS["uniform"].make(grid, tuple(weight.shape))
    plain.fit(weight, "mse")
    learner = QUANTIZERS[name].make(grid, tuple(weight.shape))
    learner.take(plain)
    learner.start(weight)
    return plain, learner


def test_there_are_learners() -> None:
    assert set(LEARNERS) >= {"rounding", "flexround", "autoround", "adaquant", "clipping"}


@pytest.mark.parametrize("grid", GRIDS, ids=lambda g: g.describe())
@pytest.mark.parametrize("name", ["flexround", "autoround", "adaquant"])
def test_begins_at_nearest_rounding_bit_for_bit(name: str, grid: Grid, weight) -> None:
    plain, learner = started(name, grid, weight)
    assert torch.equal(learner(weight), plain(weight))
    assert torch.equal(learner.codes(weight), plain.codes(weight))
    assert all(torch.equal(a, b) for a, b in zip(learner.affine(), plain.affine(), strict=True))


@pytest.mark.parametrize("grid", GRIDS, ids=lambda g: g.describe())
@pytest.mark.parametrize("name", LEARNERS)
def test_facts_name_parameters_that_get_a_gradient(name: str, grid: Grid, weight) -> None:
    _, learner = started(name, grid, weight)
    learns = QUANTIZERS[name].facts["learns"]
    assert {key for key, _ in learner.named_parameters()} == set(learns)
    (learner(weight) - weight * 0.9).square().sum().backward()
    symmetric = grid.symmetric and name in ("autoround", "clipping")
    moved = {k for k, p in learner.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == (set(learns) - {"beta"} if symmetric else set(learns))


@pytest.mark.parametrize("name", LEARNERS)
def test_codes_are_what_the_hard_forward_gives(name: str, weight) -> None:
    grid = GRIDS[1]
    _, learner = started(name, grid, weight)
    with torch.no_grad():
        for parameter in learner.parameters():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
            parameter.mul_(1 + 0.05 * noise)
    frozen = learner.frozen(weight)
    if name != "rounding":  # whose forward is soft until the rounding is decided
        assert torch.allclose(frozen.values(), learner(weight), atol=1e-6)
    assert int(frozen.codes.min()) >= grid.qmin
    assert int(frozen.codes.max()) <= grid.qmax


def test_flexround_gradient_is_proportional_to_the_weight(weight) -> None:
    """∂ŵ/∂δ2 = -w inside the range (straight-through): ŵ = s round(w e^-δ / s)."""
    _, learner = started("flexround", Grid(8, granularity=CHANNEL), weight)
    learner(weight).sum().backward()
    inside = learner.codes(weight).abs() < 127
    assert torch.allclose(learner.delta2.grad[inside], -weight[inside], atol=1e-6)


def test_a_division_can_move_a_code_by_more_than_one() -> None:
    weight = torch.tensor([[6.0, 0.4]])
    learner = QUANTIZERS["flexround"].make(Grid(4), (1, 2))
    learner.set_affine(torch.tensor(1.0), torch.tensor(0.0))
    with torch.no_grad():
        learner.delta2.fill_(1.0)
    assert learner.codes(weight).tolist() == [[2.0, 0.0]]


def test_autoround_moves_by_at_most_one_level(weight) -> None:
    plain, learner = started("autoround", GRIDS[0], weight)
    with torch.no_grad():
        learner.v.copy_(torch.randn(weight.shape) * 10)
    moved = (learner.codes(weight) - plain.codes(weight)).abs()
    assert float(moved.max()) <= 1
    assert float(moved.sum()) > 0


def test_signed_steps_with_linear_decay_reach_about_one_half() -> None:
    steps = 200
    reach = sum((1 - step / steps) / steps for step in range(steps))
    assert reach == pytest.approx((steps + 1) / (2 * steps))


def test_clipping_begins_at_its_share(weight) -> None:
    plain, learner = started("clipping", GRIDS[0], weight)
    assert torch.allclose(learner.affine()[0], plain.affine()[0] * 0.98201379, rtol=1e-6)


def test_clipped_range_ends_where_it_should() -> None:
    grid = Grid(4, signed=False, symmetric=False)
    scale, zero_point = torch.tensor(0.2), torch.tensor(5.0)  # [-1, 2]
    s, z = clipped_affine(scale, zero_point, grid, torch.tensor(0.5), torch.tensor(1.0))
    assert float(s) == pytest.approx((1.0 + 1.0) / 15)
    assert float(z) == 8  # 1 / s = 7.5, to even
    ends = fake_quantize(torch.tensor([-9.0, 9.0]), s, z, grid)
    assert ends.tolist() == pytest.approx([-8 * float(s), 7 * float(s)])
