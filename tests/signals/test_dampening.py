"""Oscillation dampening: numbers by hand, gradients, annealing, and the grids it acts on."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.signals.weights import Odd, of, on
from workbench.maths.grid import Granularity, Grid
from workbench.quantizers.lsq import LSQ
from workbench.quantizers.table import Table
from workbench.signals import levels
from workbench.signals.base import Seen, Trained
from workbench.signals.dampening import annealed, dampening
from workbench.signals.registry import SIGNALS

ENTRY = SIGNALS["dampening"]


def loss(seen: Seen, **options: float) -> float:
    return float(ENTRY.make(seen, ENTRY.options(**options)).detach())


WEIGHT = torch.tensor([0.11, -0.06, 0.35, -0.9, 0.2])  # step 0.1, three bits: from -0.4 to 0.3


def distance(own: Trained) -> float:
    return float(dampening(own.weight, own.quantizer).detach())


def test_squared_distance_to_the_level_but_of_clipped_weights() -> None:
    own = on(WEIGHT, Grid(3), 0.1)
    assert distance(own) == pytest.approx(0.01**2 + 0.04**2, rel=1e-4)
    dampening(own.weight, own.quantizer).backward()
    assert own.weight.grad is not None
    expected = torch.tensor([0.02, 0.08, 0.0, 0.0, 0.0])
    assert torch.allclose(own.weight.grad, expected, atol=1e-6)


def test_the_step_gets_no_gradient() -> None:
    own = on(WEIGHT, Grid(3), 0.1)
    dampening(own.weight, own.quantizer).backward()
    assert isinstance(own.quantizer, LSQ)
    assert own.quantizer.scale.grad is None


@pytest.mark.parametrize("kind", [Granularity("channel", 0), Granularity("group", 1, 3)])
def test_every_scale_has_its_own_levels(kind: Granularity) -> None:
    weight = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    grid = Grid(3, granularity=kind)
    shape = kind.shape(weight.shape)
    scale = torch.linspace(0.1, 0.5, math.prod(shape)).reshape(shape)
    own = on(weight, grid, scale)
    wide = kind.expand(scale, weight).expand(weight.shape)
    pairs = zip(weight.flatten(), wide.flatten(), strict=True)
    alone = sum(distance(on(w.reshape(1), Grid(3), s)) for w, s in pairs)
    assert distance(own) == pytest.approx(alone, rel=1e-5)


def test_levels_of_its_own_reach_to_their_own_ends() -> None:
    odd = on(torch.tensor([0.25, -0.35, 0.05, -0.19]), Grid(2), 0.1, Odd)  # ±0.1 and ±0.3
    assert distance(odd) == pytest.approx(0.05**2 + 0.0 + 0.05**2 + 0.09**2, rel=1e-4)
    table = on(torch.tensor([0.5, -2.0, 0.07]), Grid(4, table="nf4"), 1.0, Table)
    nearest = [0.4407, -1.0, 0.0796]
    assert distance(table) == pytest.approx((0.5 - nearest[0]) ** 2 + 0.0096**2, rel=2e-2)


@given(seed=st.integers(0, 99), bits=st.integers(2, 4), step=st.floats(0.05, 1))
def test_weights_on_their_levels_rest(seed: int, bits: int, step: float) -> None:
    weight = torch.randn(30, generator=torch.Generator().manual_seed(seed))
    own = on(weight, Grid(bits), step)
    snapped = on(own.quantizer(own.weight).detach(), Grid(bits), step)
    assert distance(snapped) == pytest.approx(0, abs=1e-10)
    assert distance(own) <= 30 * (step / 2) ** 2


def test_it_grows_in_half_a_cosine_wave() -> None:
    assert [annealed(step, 100) for step in (0, 50, 100)] == pytest.approx([0, 0.5, 1])
    assert annealed(25, 100) == pytest.approx((1 - math.cos(math.pi / 4)) / 2)
    assert [annealed(step, 100, 0.6) for step in (0, 60, 80, 100)] == pytest.approx([0, 0, 0.5, 1])


@given(st.integers(1, 50), st.integers(1, 50), st.floats(0, 0.99))
def test_the_factor_stays_between_0_and_1_and_never_falls(a: int, b: int, start: float) -> None:
    first, last = (annealed(min(step, 50), 50, start) for step in sorted((a, b)))
    assert 0 <= first <= last <= 1


def test_the_factor_multiplies_the_sum_over_layers() -> None:
    own, odd = on(WEIGHT, Grid(3), 0.1), on(WEIGHT, Grid(2), 0.1, Odd)
    whole = distance(own) + distance(odd)
    half = loss(of(own, odd, step=5, steps=10))
    assert half == pytest.approx(whole / 2, rel=1e-6)
    early = loss(of(own, step=5, steps=10), start=0.5)
    assert early == 0


def test_wide_grids_are_left_alone_by_the_bits_that_were_asked_for() -> None:
    eight, odd = on(WEIGHT, Grid(8), 0.1), on(WEIGHT, Grid(4), 0.1, Odd)
    assert loss(of(eight)) == 0
    assert loss(of(eight), bits=8) > 0
    assert odd.quantizer.grid.bits == 5
    assert loss(of(odd)) > 0


def test_quantizers_that_are_no_projections_are_left_out(monkeypatch) -> None:
    entries = [SimpleNamespace(make=Odd, facts={"projects": False})]
    monkeypatch.setattr(levels, "QUANTIZERS", entries)
    own, odd = on(WEIGHT, Grid(3), 0.1), on(WEIGHT, Grid(2), 0.1, Odd)
    assert loss(of(own, odd)) == pytest.approx(distance(own))
    assert loss(of(odd)) == 0
