"""Attention transfer: numbers by hand, and what it does not see."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.foundation.errors import RecipeError
from workbench.signals.attention import attention_distance, attention_map
from workbench.signals.base import Output, Seen
from workbench.signals.registry import SIGNALS

ENTRY = SIGNALS["attention"]


def loss(*outputs: Output) -> torch.Tensor:
    return ENTRY.make(Seen(outputs), ENTRY.options())


def maps(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_map_is_the_channel_sum_of_squares_with_norm_one() -> None:
    x = torch.tensor([[[[1.0, 0.0]], [[1.0, 2.0]]]])  # (1, 2, 1, 2): squares sum to 2 and 4
    expected = torch.tensor([[2.0, 4.0]]) / math.sqrt(20)
    assert torch.allclose(attention_map(x, 1), expected)


def test_elsewhere_is_two_and_the_same_place_nothing() -> None:
    left, right = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    left[0, 0, 0, 0] = right[0, 1, 1, 1] = 5.0
    assert float(attention_distance(left, right)) == pytest.approx(2)
    assert float(attention_distance(left, -2 * left)) == pytest.approx(0, abs=1e-12)


def test_channel_counts_may_differ() -> None:
    teacher = maps(0, 2, 8, 3, 3)
    student = torch.cat([teacher, teacher, teacher.new_zeros(2, 1, 3, 3)], dim=1)
    assert float(attention_distance(teacher, student)) == pytest.approx(0, abs=1e-10)


def test_tokens_are_positions_too() -> None:
    teacher, student = maps(0, 2, 4, 3, 3), maps(1, 2, 4, 3, 3)
    tokens = [x.flatten(2).transpose(1, 2) for x in (teacher, student)]  # (N, L, C)
    found = attention_distance(tokens[0], tokens[1], 2)
    assert float(found) == pytest.approx(float(attention_distance(teacher, student)), rel=1e-6)


def test_no_gradient_where_both_agree_and_a_finite_one_beside() -> None:
    teacher = maps(0, 2, 4, 3, 3)
    student = teacher.clone().requires_grad_()
    (still,) = torch.autograd.grad(attention_distance(teacher, student), student)
    assert float(still.abs().max()) == pytest.approx(0, abs=1e-6)
    silent = torch.zeros(2, 4, 3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(attention_distance(teacher, silent), silent)
    assert bool(gradient.isfinite().all())


@given(seed=st.integers(0, 99), unit=st.floats(1e-2, 1e2))
def test_neither_order_of_channels_nor_unit_matters(seed: int, unit: float) -> None:
    teacher, student = maps(seed, 2, 5, 3, 3), maps(seed + 1, 2, 5, 3, 3)
    plain = float(attention_distance(teacher, student))
    assert 0 <= plain <= 2
    moved = attention_distance(teacher, unit * student.flip(1))
    assert float(moved) == pytest.approx(plain, rel=1e-4, abs=1e-6)


def test_pairs_without_common_positions_are_left_out() -> None:
    good = Output(maps(0, 2, 4, 3, 3), maps(1, 2, 6, 3, 3), 1)
    vector = Output(torch.ones(2, 4), torch.zeros(2, 4), 1)
    pooled = Output(torch.ones(2, 4, 1, 1), torch.zeros(2, 4, 1, 1), 1)
    coarser = Output(maps(0, 2, 4, 2, 2), maps(1, 2, 4, 4, 4), 1)
    assert torch.equal(loss(good, vector, pooled, coarser), loss(good))
    with pytest.raises(RecipeError, match="'features' or 'logits'"):
        loss(vector, pooled, coarser)
