"""Signals: numbers worked out by hand, and what holds for every registered one."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.foundation.options import controls
from workbench.maths.grid import Grid
from workbench.maths.metrics import kl_divergence
from workbench.quantizers.lsq import LSQ
from workbench.signals.base import Output, Seen, Trained
from workbench.signals.fisher import importance
from workbench.signals.output_error import output_error
from workbench.signals.registry import SIGNALS
from workbench.signals.regularisers import annealed_beta, rounding_regulariser

NEEDS = {"importance", "prediction", "roundings", "labels", "features", "weights", "bits"}


def stepped(shape: tuple[int, ...]) -> LSQ:
    """Three bits with a step of 1."""
    return LSQ(Grid(3), shape)


def seen(value: torch.Tensor, reference: torch.Tensor, step: int = 10) -> Seen:
    weight = torch.linspace(0.5, 1.5, value.numel()).reshape(value.shape)
    return Seen(
        (Output(reference, value, 1, weight),),
        step,
        10,
        (reference, value),
        (value.sigmoid(),),
        value,
        torch.zeros(value.shape[:-1], dtype=torch.int64),
        (Trained("w", value, stepped(tuple(value.shape))),),
    )


@pytest.mark.parametrize("entry", list(SIGNALS), ids=lambda e: e.name)
class TestContract:
    def test_says_what_it_is(self, entry) -> None:
        assert entry.title
        assert entry.description
        assert entry.citation
        assert set(entry.facts.get("needs", ())) <= NEEDS
        assert all(control.help for control in controls(entry.options))

    def test_is_a_scalar_with_a_gradient(self, entry) -> None:
        if "bits" in entry.facts.get("needs", ()):
            pytest.skip("moves bits, which have tests of their own")
        generator = torch.Generator().manual_seed(0)
        reference = torch.randn(4, 6, 3, generator=generator)
        value = (reference + 0.1 * torch.randn(4, 6, 3, generator=generator)).requires_grad_()
        loss = entry.make(seen(value, reference), entry.options())
        assert loss.shape == ()
        assert float(loss.detach()) > 0
        (gradient,) = torch.autograd.grad(loss, value)
        assert bool(gradient.abs().sum() > 0)

    def test_nothing_differs_nothing_is_lost(self, entry) -> None:
        reference = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0))
        certain = torch.tensor([[100.0, 0.0, 0.0]])
        even = torch.tensor([1.0] * 5 + [-1.0] * 5 + [0.0] * 8)  # on the grid, kurtosis 1.8
        decided = Seen(
            (Output(reference, reference, 1, torch.ones(4, 6, 3)),),
            10,
            10,
            (reference, reference),
            (torch.tensor([0.0, 1.0]),),
            certain,
            torch.tensor([0]),
            (Trained("w", even, stepped((18,))),),
        )
        assert float(entry.make(decided, entry.options())) == pytest.approx(0, abs=1e-9)

    def test_without_weights_regularisers_rest(self, entry) -> None:
        if "weights" not in entry.facts.get("needs", ()):
            pytest.skip("looks at other things")
        assert float(entry.make(Seen((), logits=torch.ones(2, 3)), entry.options())) == 0
        assert float(entry.make(Seen(()), entry.options())) == 0


def test_output_error_sums_channels_and_means_the_rest() -> None:
    reference = torch.zeros(2, 3, 1, 2)
    output = reference.clone()
    output[0, :, 0, 0] = torch.tensor([1.0, -2.0, 3.0])
    assert float(output_error(reference, output)) == pytest.approx((1 + 4 + 9) / 4)
    expected = (1 + 2**2.4 + 3**2.4) / 4
    assert float(output_error(reference, output, norm=2.4)) == pytest.approx(expected, rel=1e-6)


def test_rounding_regulariser_numbers() -> None:
    known = [
        (0.5, 7, 1), (0.75, 2, 0.75), (0.75, 11, 0.999512), (0.75, 20, 0.999999),
        (0.9, 2, 0.36), (0.9, 11, 0.914101), (0.9, 20, 0.988471), (0.0, 2, 0), (1.0, 20, 0),
    ]  # fmt: skip
    for h, beta, expected in known:
        found = float(rounding_regulariser(torch.tensor([h]), beta))
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("step", "beta"), [(4000, 20), (8000, 15.5), (12000, 11), (16000, 6.5), (20000, 2)]
)
def test_beta_schedule(step: int, beta: float) -> None:
    assert annealed_beta(step, 20000) == pytest.approx(beta)


def test_the_regulariser_rests_during_the_warm_up() -> None:
    entry = SIGNALS["rounding_regulariser"]
    value, reference = torch.zeros(4, 6), torch.zeros(4, 6)
    assert float(entry.make(seen(value, reference, step=2), entry.options())) == 0
    assert float(entry.make(seen(value, reference, step=3), entry.options())) > 0


def test_importance_is_the_fisher_information_of_a_linear_softmax() -> None:
    """For logits z itself, E[(∂ log p(y) / ∂z)²] = p (1 - p); many draws come close."""
    logits = torch.tensor([[2.0, 0.0, -1.0]]).repeat(1000, 1).requires_grad_()
    generator = torch.Generator().manual_seed(0)
    (found,) = importance(logits, [logits], generator, draws=100)
    p = logits.detach()[0].softmax(-1)
    exact = p * (1 - p)
    assert torch.allclose(found.mean(0), exact / exact.mean(), rtol=0.03)
    assert float(found.mean()) == pytest.approx(1, abs=1e-5)


def test_importance_of_what_does_not_matter_is_even() -> None:
    value = torch.randn(3, 4).requires_grad_()
    logits = torch.zeros(3, 2) + 0 * value.sum()
    (found,) = importance(logits, [value], torch.Generator().manual_seed(0))
    assert torch.equal(found, torch.ones(3, 4))


def test_prediction_difference_is_a_divergence_at_its_temperature() -> None:
    entry = SIGNALS["prediction_difference"]
    generator = torch.Generator().manual_seed(1)
    reference, value = (torch.randn(5, 7, generator=generator) for _ in range(2))
    found = entry.make(seen(value, reference), entry.options(temperature=4.0))
    assert float(found) == pytest.approx(kl_divergence(reference / 4, value / 4), rel=1e-5)
    assert math.isfinite(float(found))
