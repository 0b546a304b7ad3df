"""What holds for every registered quantizer; a new file is tested here without being named."""

from __future__ import annotations

import pytest
import torch

from workbench.foundation.errors import RecipeError
from workbench.maths.grid import Granularity, Grid
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import QUANTIZERS

GRIDS = [
    Grid(4),
    Grid(3, granularity=Granularity("channel", 0)),
    Grid(8, signed=False, symmetric=False),
    Grid(4, granularity=Granularity("group", 1, 4)),
    Grid(4, table="nf4"),
    Grid(2, granularity=Granularity("channel", 0), table="balanced"),
    Grid(3, granularity=Granularity("group", 1, 4), table="kmeans"),
]
#: those of activations alone have tests of their own, on the grids that they serve
ENTRIES = [entry for entry in QUANTIZERS if not entry.facts.get("activations_only")]
SIZES = [Granularity(), Granularity("channel", 0), Granularity("group", 1, 4)]


def grids(entry) -> list[Grid]:
    """Those that are tried, of the widths that the entry serves."""
    bits = entry.facts.get("bits")
    return [Grid(b, granularity=size) for b in bits for size in SIZES] if bits else GRIDS


CASES = [(entry, grid) for entry in ENTRIES for grid in grids(entry)]


def ready(name: str, grid: Grid, x: torch.Tensor) -> Quantizer:
    quantizer = QUANTIZERS[name].make(grid, tuple(x.shape))
    rows = grid.granularity.rows(x)
    unrows = grid.granularity.unrows
    quantizer.set_range(unrows(rows.amin(1), x.shape), unrows(rows.amax(1), x.shape))
    if hasattr(quantizer, "start"):
        quantizer.start(x)
    if hasattr(quantizer, "set_codes"):
        quantizer.set_codes(QUANTIZERS["uniform"].make(grid, tuple(x.shape)).codes(x))
    return quantizer


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(6, 10, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("entry", "grid"), CASES, ids=lambda v: v.describe() if isinstance(v, Grid) else v.name
)
class TestContract:
    def test_frozen_is_on_the_grid(self, entry, grid: Grid, x: torch.Tensor) -> None:
        frozen = ready(entry.name, grid, x).frozen(x)
        assert frozen.codes is not None
        assert frozen.scale.shape == grid.granularity.shape(x.shape)
        assert bool((frozen.scale > 0).all())
        assert int(frozen.codes.min()) >= frozen.grid.qmin
        assert int(frozen.codes.max()) <= frozen.grid.qmax
        assert frozen.values().shape == x.shape
        assert (frozen.levels is None) == frozen.grid.uniform

    def test_a_grid_of_its_own_stays(self, entry, grid: Grid, x: torch.Tensor) -> None:
        own = QUANTIZERS[entry.name].make(grid, tuple(x.shape)).grid
        assert QUANTIZERS[entry.name].make(own, tuple(x.shape)).grid == own
        assert own.granularity == grid.granularity

    def test_serialisable(self, entry, grid: Grid, x: torch.Tensor) -> None:
        first = ready(entry.name, grid, x)
        second = QUANTIZERS[entry.name].make(grid, tuple(x.shape))
        second.load_state_dict(first.state_dict())
        assert torch.equal(first(x), second(x))

    def test_differentiable(self, entry, grid: Grid, x: torch.Tensor) -> None:
        quantizer = ready(entry.name, grid, x)
        x = x.clone().requires_grad_()
        learnables = [x, *quantizer.parameters()]
        gradients = (
            torch.autograd.grad(
                quantizer(x).square().sum(), learnables, allow_unused=True, materialize_grads=True
            )
            if any(p.requires_grad for p in learnables)
            else ()
        )
        assert any(bool(g.abs().sum() > 0) for g in gradients)
        assert all(bool(torch.isfinite(g).all()) for g in gradients)

    def test_switched_off_passes_everything(self, entry, grid: Grid, x: torch.Tensor) -> None:
        quantizer = ready(entry.name, grid, x)
        quantizer.enabled = False
        assert quantizer(x) is x


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_widths_that_are_not_served_are_refused(entry) -> None:
    for bits in set(range(1, 9)) - set(entry.facts.get("bits", range(1, 9))):
        with pytest.raises(RecipeError, match=f"'{entry.name}' .* '{bits}' bits; ask for"):
            QUANTIZERS[entry.name].make.own_grid(Grid(bits))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_entries_say_what_they_are(entry) -> None:
    assert entry.title
    assert entry.description
    entry.options()
