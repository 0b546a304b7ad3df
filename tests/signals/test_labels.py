"""Cross-entropy: numbers by hand, missing labels, mixed labels, smoothing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.foundation.errors import DataError, RecipeError
from workbench.signals.base import Seen
from workbench.signals.labels import cross_entropy
from workbench.signals.registry import SIGNALS

LOGITS = torch.tensor([[math.log(1.0), math.log(3.0)], [math.log(4.0), math.log(1.0)]])


def test_the_probability_of_the_right_class() -> None:
    found = float(cross_entropy(LOGITS, torch.tensor([1, 0])))
    assert found == pytest.approx(-(math.log(3 / 4) + math.log(4 / 5)) / 2, rel=1e-6)


def test_the_gradient_is_probability_minus_label() -> None:
    logits = LOGITS.clone().requires_grad_()
    cross_entropy(logits, torch.tensor([1, 0])).backward()
    assert logits.grad is not None
    expected = torch.tensor([[0.25, -0.25], [-0.2, 0.2]]) / 2
    assert torch.allclose(logits.grad, expected, atol=1e-6)


def test_positions_without_a_label_do_not_count() -> None:
    found = float(cross_entropy(LOGITS, torch.tensor([-100, 0])))
    assert found == pytest.approx(-math.log(4 / 5), rel=1e-6)
    logits = LOGITS.clone().requires_grad_()
    nothing = cross_entropy(logits, torch.tensor([-100, -100]), smoothing=0.1)
    nothing.backward()
    assert float(nothing) == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(2, 2))


def test_tokens_are_positions() -> None:
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(10).reshape(2, 5) % 7
    flat = cross_entropy(logits.reshape(10, 7), labels.flatten())
    assert torch.equal(cross_entropy(logits, labels), flat)


def test_smoothing_spreads_a_share_over_all_classes() -> None:
    shares = torch.tensor([[0.1, 0.9], [0.9, 0.1]])
    smoothed = cross_entropy(LOGITS, torch.tensor([1, 0]), smoothing=0.2)
    assert float(smoothed) == pytest.approx(float(cross_entropy(LOGITS, shares)), rel=1e-6)


@given(share=st.floats(0, 1), smoothing=st.floats(0, 0.9))
def test_mixed_labels_mix_the_losses(share: float, smoothing: float) -> None:
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).double()
    first, second = torch.tensor([0, 1, 2]), torch.tensor([3, 3, 0])
    hot = [torch.nn.functional.one_hot(labels, 4).double() for labels in (first, second)]
    mixed = cross_entropy(logits, share * hot[0] + (1 - share) * hot[1], smoothing)
    apart = [cross_entropy(logits, labels, smoothing) for labels in (first, second)]
    assert float(mixed) == pytest.approx(float(share * apart[0] + (1 - share) * apart[1]), rel=1e-9)


@pytest.mark.parametrize("labels", [torch.zeros(3).long(), torch.zeros(2, 3), torch.zeros(2)])
def test_labels_of_another_shape_are_refused(labels: torch.Tensor) -> None:
    with pytest.raises(DataError, match="one class for each row"):
        cross_entropy(LOGITS, labels)


def test_the_signal_takes_its_smoothing_from_the_options() -> None:
    entry = SIGNALS["labels"]
    seen = Seen((), logits=LOGITS, labels=torch.tensor([1, 0]))
    options = SIGNALS.parsed("labels", {"smoothing": 0.2})
    assert torch.equal(
        entry.make(seen, options), cross_entropy(LOGITS, torch.tensor([1, 0]), smoothing=0.2)
    )
    with pytest.raises(RecipeError, match="smoothing"):
        SIGNALS.parsed("labels", {"smoothing": 1.0})
