"""QIL: intervals by hand, gradients with rounding frozen, and a start at plain rounding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantizers.frozen_rounding import differences
from workbench.foundation.errors import RecipeError
from workbench.maths.grid import Granularity, Grid
from workbench.quantizers.codes import Codes
from workbench.quantizers.lsq import LSQ
from workbench.quantizers.qil import QIL
from workbench.quantizers.registry import QUANTIZERS
from workbench.quantizers.uniform import Uniform

GRANULARITIES = [Granularity(), Granularity("channel", 0), Granularity("group", 1, 4)]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def interval(c: float, d: float, gamma: float, scale: float, bits: int = 3) -> QIL:
    quantizer = QIL(Grid(bits), ())
    with torch.no_grad():
        for parameter, value in zip(
            (quantizer.c, quantizer.d, quantizer.gamma, quantizer.scale),
            (c, d, gamma, scale),
            strict=True,
        ):
            parameter.fill_(value)
    return quantizer


def test_an_interval_by_hand() -> None:
    """c = 0.5, d = 0.25: pruned below 0.25, clipped above 0.75; 3 bits, codes -3 to 3."""
    x = torch.tensor([-2.0, -0.6, -0.2, 0.0, 0.24, 0.3, 0.5, 0.74, 0.9])
    plain = interval(0.5, 0.25, 1.0, 1.0)
    # v = -1, -0.7, 0, 0, 0, 0.1, 0.5, 0.98, 1; times 3 and rounded
    assert plain(x).tolist() == [-3, -2, 0, 0, 0, 0, 2, 3, 3]
    squared = interval(0.5, 0.25, 2.0, 0.1)
    # v = -1, -0.49, 0, 0, 0, 0.01, 0.25, 0.96, 1
    assert squared(x).tolist() == pytest.approx([-0.3, -0.1, 0, 0, 0, 0, 0.1, 0.3, 0.3])
    assert squared.frozen(x).codes.tolist() == [-3, -1, 0, 0, 0, 0, 1, 3, 3]


def test_slope_inside_and_none_outside() -> None:
    """∂ŵ/∂w = s (2^(b-1) - 1) γ u^(γ-1) / 2d inside the interval."""
    x = torch.tensor([-2.0, 0.1, 0.4, -0.6], requires_grad=True)
    interval(0.5, 0.25, 2.0, 0.1)(x).sum().backward()
    slope = [0.1 * 3 * 2 * u / 0.5 for u in (0.3, 0.7)]
    assert x.grad.tolist() == pytest.approx([0, 0, *slope], abs=1e-6)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("gamma", [0.6, 1.0, 1.7])
def test_gradients_are_those_with_rounding_frozen(granularity, gamma: float) -> None:
    weight = drawn(3, 7).double().requires_grad_()
    quantizer = QIL(Grid(4, granularity=granularity), (3, 7)).double()
    with torch.no_grad():
        quantizer.c.fill_(0.8)
        quantizer.d.fill_(0.6)
        quantizer.gamma.fill_(gamma)
        quantizer.scale.fill_(0.2)
    target = torch.linspace(-1, 1, 21, dtype=torch.float64).reshape(3, 7)

    def loss() -> torch.Tensor:
        return (quantizer(weight) * target).sum()

    loss().backward()
    for value in (quantizer.c, quantizer.d, quantizer.gamma, quantizer.scale, weight):
        expected = differences(quantizer, value, loss)
        assert bool(expected.any())
        assert value.grad is not None
        assert float((value.grad - expected).abs().max()) < 1e-6


@pytest.mark.parametrize("kind", [Uniform, LSQ, Codes])
@pytest.mark.parametrize("grid", [Grid(4), Grid(4, granularity=GRANULARITIES[1], narrow=True)])
def test_begins_at_plain_rounding_of_the_same_range(kind, grid: Grid) -> None:
    weight = drawn(4, 6, 3, 3)
    plain, learner = kind(grid, (4, 6, 3, 3)), QIL(grid, (4, 6, 3, 3))
    plain.fit(weight, "minmax")
    learner.take(plain)
    narrow = Uniform(learner.grid, (4, 6, 3, 3))
    narrow.fit(weight, "minmax")
    torch.testing.assert_close(learner.affine()[0].detach(), narrow.affine()[0])
    same = (learner.codes(weight) == narrow.codes(weight)).float().mean()
    assert float(same) > 0.99  # but for ties


def test_starts_at_the_least_squared_error_of_its_own_grid() -> None:
    weight = drawn(4, 60)
    learner, best = QIL(Grid(2), (4, 60)), Uniform(Grid(2, narrow=True), (4, 60))
    learner.start(weight)
    best.fit(weight, "mse")
    torch.testing.assert_close(learner(weight), best(weight))


def test_what_was_learned_stays_when_a_scale_is_raised() -> None:
    quantizer = interval(0.5, 0.25, 2.0, 0.1)
    quantizer.coarsen(torch.tensor(0.3))
    assert float(quantizer.affine()[0].detach()) == pytest.approx(0.3)
    assert float(quantizer.c.detach()) == 0.5
    assert float(quantizer.gamma.detach()) == 2


def test_one_takes_all_of_another() -> None:
    first, second = interval(0.5, 0.25, 2.0, 0.1), QIL(Grid(3), ())
    second.take(first)
    x = torch.linspace(-1, 1, 50)
    assert torch.equal(first(x), second(x))


def test_one_bit_and_activations_are_not_served() -> None:
    entry = QUANTIZERS["qil"]
    assert entry.facts["weights_only"]
    assert 1 not in entry.facts["bits"]
    with pytest.raises(RecipeError, match=r"ask for .2. or more"):
        QIL(Grid(1), (3,))


@given(
    bits=st.integers(2, 8),
    seed=st.integers(0, 2**16),
    c=st.floats(-1, 3),
    d=st.floats(-1, 3),
    gamma=st.floats(-1, 8),
    scale=st.floats(-1, 1),
    granularity=st.sampled_from(GRANULARITIES),
)
@settings(max_examples=80, deadline=None)
def test_whatever_is_learned_is_on_the_grid(bits, seed, c, d, gamma, scale, granularity) -> None:
    weight = drawn(4, 6, 3, 3, seed=seed)
    weight[0, 0, 0, 0] = 0
    quantizer = QIL(Grid(bits, granularity=granularity), tuple(weight.shape))
    with torch.no_grad():
        for name, value in {"c": c, "d": d, "gamma": gamma, "scale": scale}.items():
            getattr(quantizer, name).fill_(value)
    frozen = quantizer.frozen(weight)
    assert bool((frozen.scale > 0).all())
    assert int(frozen.codes.abs().max()) <= quantizer.grid.qmax == 2 ** (bits - 1) - 1
    result = quantizer(weight.requires_grad_())
    assert torch.equal(frozen.values(), result)
    assert float(result[0, 0, 0, 0].detach()) == 0
    result.sum().backward()
    gradients = [p.grad for p in (*quantizer.parameters(), weight)]
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
