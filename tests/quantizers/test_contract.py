"""What holds for every registered quantizer; a new file is tested here without being named."""

from __future__ import annotations

import pytest
import torch

from workbench.foundation.errors import RecipeError
from workbench.foundation.registry import Entry
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
#: those whose levels are neither equal steps nor a table have tests of their own
ENTRIES = [entry for entry in QUANTIZERS if not entry.make.form]
SIZES = [Granularity(), Granularity("channel", 0), Granularity("group", 1, 4)]


def serves(entry: Entry[type[Quantizer]], grid: Grid) -> bool:
    """False where the quantizer says that it does not serve the grid."""
    try:
        entry.make.own_grid(grid)
    except RecipeError:
        return False
    return True


def grids(entry: Entry[type[Quantizer]]) -> list[Grid]:
    """Those that are tried, of the widths that the entry serves."""
    bits = entry.facts.get("bits")
    every = [Grid(b, granularity=size) for b in bits for size in SIZES] if bits else GRIDS
    return [grid for grid in every if serves(entry, grid)]


CASES = [
    pytest.param(entry, grid, id=f"{grid.describe()}-{entry.name}")
    for entry in ENTRIES
    for grid in grids(entry)
]
#: those that are trained with the network; the others decide the rounding of frozen weights, or
#: mix several grids until bits are chosen
FORWARD = [case for case in CASES if not {"learns", "searches"} & set(case.values[0].facts)]
#: of these, those that leave alone what lies on their levels; behind a curve that is not so
PROJECTIONS = [case for case in FORWARD if case.values[0].facts.get("projects", True)]


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


@pytest.mark.parametrize(("entry", "grid"), CASES)
class TestContract:
    def test_frozen_is_on_the_grid(self, entry, grid: Grid, x: torch.Tensor) -> None:
        quantizer = ready(entry.name, grid, x)
        frozen = quantizer.frozen(x)
        assert frozen.codes is not None
        assert frozen.grid == quantizer.grid == entry.make.own_grid(grid)
        assert frozen.grid.granularity == grid.granularity
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


@pytest.mark.parametrize(("entry", "grid"), PROJECTIONS)
def test_what_lies_on_the_levels_stays(entry, grid: Grid, x: torch.Tensor) -> None:
    quantizer = ready(entry.name, grid, x)
    assert torch.equal(quantizer.codes(quantizer(x)), quantizer.codes(x))


@pytest.mark.parametrize(("entry", "grid"), FORWARD)
def test_the_forward_is_what_is_exported(entry, grid: Grid, x: torch.Tensor) -> None:
    quantizer = ready(entry.name, grid, x)
    with torch.no_grad():
        for parameter in quantizer.parameters():
            parameter.mul_(1.037)
    values = quantizer.frozen(x).values()
    assert torch.equal(quantizer(x), values)
    with torch.no_grad():
        assert torch.equal(quantizer(x), values)


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
