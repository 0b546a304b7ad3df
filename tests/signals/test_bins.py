"""Bin regularisation: numbers by hand, and mean and variance as the paper has them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.signals.weights import Odd, of, on
from workbench.maths.grid import Granularity, Grid
from workbench.signals.base import Seen, Trained
from workbench.signals.bins import bin_distance
from workbench.signals.registry import SIGNALS

ENTRY = SIGNALS["bins"]


def loss(seen: Seen, **options: float) -> float:
    return float(ENTRY.make(seen, ENTRY.options(**options)).detach())


def distance(own: Trained) -> float:
    return float(bin_distance(own.weight, own.quantizer).detach())


def by_bin(own: Trained) -> float:
    """The paper's two terms, bin by bin, for one scale."""
    weight, codes = own.weight.detach(), own.quantizer.codes(own.weight)
    levels = own.quantizer(own.weight).detach()
    total = 0.0
    for code in codes.unique():
        inside = weight[codes == code]
        total += float((inside.mean() - levels[codes == code][0]) ** 2)
        total += float(inside.var(unbiased=False))
    return total


def test_each_bin_counts_the_same() -> None:
    weight = torch.tensor([0.01, 0.01, 0.01, 0.13])  # three in bin 0, one in bin 1 of step 0.1
    own = on(weight, Grid(3), 0.1)
    found = bin_distance(own.weight, own.quantizer)
    assert float(found.detach()) == pytest.approx(0.01**2 + 0.03**2, rel=1e-4)
    found.backward()
    assert own.weight.grad is not None
    expected = torch.tensor([0.02 / 3, 0.02 / 3, 0.02 / 3, 0.06])
    assert torch.allclose(own.weight.grad, expected, atol=1e-6)


@given(seed=st.integers(0, 99), bits=st.integers(2, 4), step=st.floats(0.1, 1))
def test_mean_and_variance_of_every_bin(seed: int, bits: int, step: float) -> None:
    weight = torch.randn(60, generator=torch.Generator().manual_seed(seed))
    own = on(weight, Grid(bits), step)
    found = distance(own)
    assert found == pytest.approx(by_bin(own), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("kind", [Granularity("channel", 0), Granularity("group", 1, 4)])
def test_several_scales_are_averaged(kind: Granularity) -> None:
    weight = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    shape = kind.shape(weight.shape)
    scale = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 0.3 + 0.1
    own = on(weight, Grid(3, granularity=kind), scale)
    rows = list(weight) if kind.kind == "channel" else [p for r in weight for p in r.split(4)]
    alone = [by_bin(on(r, Grid(3), s)) for r, s in zip(rows, scale.flatten(), strict=True)]
    found = distance(own)
    assert found == pytest.approx(sum(alone) / len(alone), rel=1e-4)


def test_codes_of_its_own_and_the_mean_over_layers() -> None:
    odd = on(torch.tensor([0.05, -0.28, 0.12]), Grid(2), 0.1, Odd)  # to 0.1, -0.3 and 0.1
    alone = (0.05**2 + 0.02**2) / 2 + 0.02**2
    assert distance(odd) == pytest.approx(alone, rel=1e-4)
    still = on(torch.tensor([0.1, 0.2]), Grid(3), 0.1)
    assert loss(of(odd, still)) == pytest.approx(alone / 2, rel=1e-4)


def test_descent_gathers_the_weights_at_their_levels() -> None:
    own = on(torch.rand(200, generator=torch.Generator().manual_seed(0)) * 0.6 - 0.3, Grid(3), 0.1)
    first = own.quantizer.codes(own.weight)
    optimiser = torch.optim.SGD([own.weight], lr=5.0)
    for _ in range(50):
        optimiser.zero_grad()
        ENTRY.make(of(own), ENTRY.options()).backward()
        optimiser.step()
    assert torch.equal(own.quantizer.codes(own.weight), first)
    assert float((own.weight - own.quantizer(own.weight)).detach().abs().max()) < 0.01
