"""Distillation of logits: numbers by hand, the factor T², and its gradient."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.foundation.errors import RecipeError
from workbench.signals.base import Seen
from workbench.signals.registry import SIGNALS

ENTRY = SIGNALS["logits"]
TEACHER = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
STUDENT = torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)]])


def loss(teacher: torch.Tensor, student: torch.Tensor, temperature: float) -> torch.Tensor:
    seen = Seen((), prediction=(teacher, student))
    return ENTRY.make(seen, ENTRY.options(temperature=temperature))


def test_divergence_by_hand() -> None:
    first = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    second = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert float(loss(TEACHER, STUDENT, 1.0)) == pytest.approx((first + second) / 2, rel=1e-6)


def test_a_temperature_is_that_of_softer_logits_times_its_square() -> None:
    soft = loss(TEACHER / 4, STUDENT / 4, 1.0)
    assert float(loss(TEACHER, STUDENT, 4.0)) == pytest.approx(16 * float(soft), rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 20.0])
def test_the_gradient_is_the_temperature_times_the_gap_of_probabilities(temperature: float) -> None:
    student = STUDENT.clone().requires_grad_()
    loss(TEACHER, student, temperature).backward()
    gap = (STUDENT / temperature).softmax(-1) - (TEACHER / temperature).softmax(-1)
    assert student.grad is not None
    assert torch.allclose(student.grad, temperature * gap / 2, atol=1e-5)


def test_a_teacher_with_other_classes_is_refused() -> None:
    with pytest.raises(RecipeError, match="same classes"):
        loss(torch.zeros(2, 3), STUDENT, 1.0)
