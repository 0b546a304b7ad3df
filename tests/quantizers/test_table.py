"""Learned level tables: fitted to the weight, moved by gradient, kept and handed on."""

from __future__ import annotations

import pytest
import torch

from tests.quantizers import low
from workbench.maths.grid import Granularity, Grid
from workbench.quantizers.codes import Codes
from workbench.quantizers.table import Table

GRID = Grid(3, granularity=Granularity("channel", 0), table="kmeans")


def weight() -> torch.Tensor:
    """Most values near -1 or 2, in channels of different size."""
    generator = torch.Generator().manual_seed(1)
    humps = torch.where(torch.rand(6, 50, generator=generator) < 0.3, 2.0, -1.0)
    noise = 0.3 * torch.randn(6, 50, generator=generator)
    return (humps + noise) * torch.tensor([0.1, 0.5, 1, 2, 3, 9])[:, None]


def error(quantizer: Table, w: torch.Tensor) -> float:
    return float((quantizer(w) - w).square().mean())


def test_a_learned_table_fits_the_weight_better_than_fixed_ones() -> None:
    w, errors = weight(), {}
    for name in ("kmeans", "nf3", "apot", "uniform"):
        grid = Grid(3, granularity=GRID.granularity, table=name)
        learner = Table(grid, tuple(w.shape))
        learner.fit(w, "mse")
        errors[name] = error(learner, w)
    assert errors["kmeans"] < 0.6 * min(errors["nf3"], errors["apot"], errors["uniform"])


def test_the_levels_learn_by_gradient_and_stay_sorted() -> None:
    w = weight()
    learner = Table(GRID, tuple(w.shape))
    learner.set_range(w.amin(1), w.amax(1))
    first = error(learner, w)
    optimiser = torch.optim.Adam(learner.parameters(), lr=0.01)
    for _ in range(60):
        loss = (learner(w) - w).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert error(learner, w) < 0.9 * first
    frozen = learner.frozen(w)
    assert frozen.levels is not None
    assert bool((frozen.levels.diff() >= 0).all())
    assert torch.equal(frozen.values(), learner(w).detach())


def test_codes_take_a_learned_table_and_store_it() -> None:
    w = weight()
    learner = Table(GRID, tuple(w.shape))
    learner.fit(w, "mse")
    chosen = Codes(GRID, tuple(w.shape))
    chosen.take(learner)
    chosen.set_codes(learner.codes(w))
    assert torch.equal(chosen(w), learner(w))
    again = Codes(GRID, tuple(w.shape))
    again.load_state_dict(chosen.state_dict())
    assert torch.equal(again(w), learner(w))


def test_fixed_tables_are_not_stored() -> None:
    assert "levels" not in Table(Grid(4, table="nf4"), (3, 4)).state_dict()
    assert "levels" in Table(GRID, (6, 50)).state_dict()


@pytest.mark.parametrize(
    ("bits", "expected"), [(1, 0.36338023), (2, 0.11748185), (3, 0.03454776), (4, 0.00950101)]
)
def test_a_learned_table_reaches_the_catalogued_error_of_normal_weights(
    bits: int, expected: float
) -> None:
    w = low.normal()[50::100]
    learner = Table(Grid(bits, table="kmeans"), tuple(w.shape))
    learner.fit(w, "mse")
    assert error(learner, w) == pytest.approx(expected, rel=0.02)


def test_a_fixed_table_learns_its_scale() -> None:
    """∂ŵ/∂s = L - w/s inside, the outermost level beyond; ∂ŵ/∂w = 1 inside, 0 beyond."""
    w = torch.tensor([0.5, -0.3, 0.05, 3.0, -4.0])
    learner = Table(Grid(4, table="nf4"), tuple(w.shape))
    assert low.gradient(learner, w) == [1, 1, 1, 0, 0]
    levels = [0.44070983, -0.28444138, 0.07958030]
    inside = sum(level - value for level, value in zip(levels, w.tolist(), strict=False))
    assert float(learner.scale.grad) == pytest.approx(inside + 1 - 1, abs=1e-5)
    assert [name for name, _ in learner.named_parameters()] == ["scale"]


def test_centroids_learn_by_gradient() -> None:
    """Each receives the sum over the weights that it stands for."""
    w = torch.tensor([0.9, 1.1, -0.2, -1.5])
    learner = Table(Grid(1, table="kmeans"), tuple(w.shape))
    low.gradient(learner, w, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert learner.levels.grad.tolist() == [7, 3]
