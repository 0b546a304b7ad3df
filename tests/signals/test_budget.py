"""A budget of bits: numbers by hand, and gradients where it is exceeded."""

from __future__ import annotations

import pytest
import torch

from tests.signals.weights import of, on
from workbench.maths.grid import Grid
from workbench.quantizers.branch_bits import BranchBits
from workbench.quantizers.frac_bits import FracBits
from workbench.signals.base import Trained
from workbench.signals.registry import SIGNALS

ENTRY = SIGNALS["budget"]


def fractional(size: int, bits: float, products: float = 0.0) -> Trained:
    quantizer = FracBits(Grid(4), (size,))
    quantizer.begin(bits)
    return Trained("w", torch.ones(size, requires_grad=True), quantizer, products)


def loss(*weights: Trained, **options: float) -> torch.Tensor:
    return ENTRY.make(of(*weights), ENTRY.options(**options))


def test_the_average_counts_values_and_only_what_is_searched() -> None:
    small, large = fractional(10, 6.0), fractional(30, 3.0)
    still = on(torch.ones(1000), Grid(8), 0.1)
    found = loss(small, large, still, average_bits=3.0)  # (60 + 90) / 40 = 3.75
    assert float(found.detach()) == pytest.approx(0.25)
    found.backward()
    assert float(small.quantizer.bits.grad) == pytest.approx(10 / 40 / 3)
    assert float(large.quantizer.bits.grad) == pytest.approx(30 / 40 / 3)


def test_operations_count_every_layer() -> None:
    one = fractional(10, 2.5, products=8e6)  # a million products with 8-bit data
    still = on(torch.ones(5), Grid(8), 0.1)
    fixed = Trained("v", still.weight, still.quantizer, 32e5)
    found = loss(one, fixed, bops=30.0)  # 20 + 25.6
    assert float(found.detach()) == pytest.approx(45.6 / 30 - 1)
    found.backward()
    assert float(one.quantizer.bits.grad) == pytest.approx(8 / 30)


def test_two_budgets_add_up_and_none_is_nothing() -> None:
    one = fractional(10, 3.0, products=1e6)
    alone = float(loss(one, average_bits=2).detach()) + float(loss(one, bops=2).detach())
    assert float(loss(one, average_bits=2, bops=2).detach()) == pytest.approx(alone) == 1.0
    assert float(loss(one).detach()) == 0.0
    assert float(loss(on(torch.ones(3), Grid(4), 0.1), average_bits=2).detach()) == 0.0


def test_below_the_budget_there_is_no_penalty() -> None:
    one = fractional(10, 2.9)
    found = loss(one, average_bits=3)
    assert float(found.detach()) == 0.0
    found.backward()
    assert float(one.quantizer.bits.grad) == 0.0


def test_branches_share_the_penalty() -> None:
    quantizer = BranchBits(Grid(4), (10,))
    own = Trained("w", torch.ones(10, requires_grad=True), quantizer)
    found = loss(own, average_bits=4)  # 5 bits at first
    assert float(found.detach()) == pytest.approx(0.25)
    found.backward()
    by_hand = [(bits - 5) / 7 / 4 for bits in range(2, 9)]
    assert quantizer.alpha.grad.tolist() == pytest.approx(by_hand, abs=1e-6)
