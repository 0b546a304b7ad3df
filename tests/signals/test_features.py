"""Feature distillation: numbers by hand, and the same meaning at every layer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.foundation.errors import RecipeError
from workbench.signals.base import Output, Seen
from workbench.signals.features import relative_distance
from workbench.signals.registry import SIGNALS

ENTRY = SIGNALS["features"]


def loss(*outputs: Output) -> torch.Tensor:
    return ENTRY.make(Seen(outputs), ENTRY.options())


def test_share_of_the_teachers_square() -> None:
    teacher, student = torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 2.0]])
    assert float(relative_distance(teacher, student)) == pytest.approx(4 / 25)
    assert float(relative_distance(teacher, torch.zeros(1, 2))) == pytest.approx(1)


def test_the_gradient_goes_to_the_student_alone() -> None:
    teacher = torch.tensor([[3.0, 4.0]], requires_grad=True)
    student = torch.tensor([[3.0, 2.0]], requires_grad=True)
    relative_distance(teacher, student).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert torch.allclose(student.grad, torch.tensor([[0.0, 2 * (2 - 4) / 25]]))


@given(unit=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_the_unit_of_a_layer_does_not_matter(unit: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    teacher, student = (torch.randn(3, 4, 2, 2, generator=generator) for _ in range(2))
    plain = float(relative_distance(teacher, student))
    assert float(relative_distance(unit * teacher, unit * student)) == pytest.approx(
        plain, rel=1e-4
    )


def test_pairs_are_averaged_and_unlike_ones_left_out() -> None:
    teacher = torch.ones(2, 4, 3, 3)
    far, near = Output(teacher, 0 * teacher, 1), Output(teacher, teacher, 1)
    unlike = Output(torch.ones(2, 8, 3, 3), teacher, 1)
    assert float(loss(far, near, unlike)) == pytest.approx(0.5)
    with pytest.raises(RecipeError, match="attention"):
        loss(unlike)
    with pytest.raises(RecipeError, match="attention"):
        loss()


def test_a_silent_teacher_gives_a_number() -> None:
    assert torch.isfinite(relative_distance(torch.zeros(2, 3), torch.full((2, 3), 1e-3)))
