"""Staircases: what all of them promise, and the fixed one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantizers.stairs import started, uniform
from workbench.foundation.errors import RecipeError
from workbench.maths.grid import Grid
from workbench.maths.staircase import count_steps, distance_to_step, look_up, polyline
from workbench.quantizers.registry import QUANTIZERS
from workbench.quantizers.steps import FORM, Steps

STAIRS = [e for e in QUANTIZERS if getattr(e.make, "form", "") == FORM]
CASES = [(e.name, bits) for e in STAIRS for bits in e.facts["bits"]]
RANGES = [(0.0, 3.0, False), (-1.0, 2.0, False), (-2.0, 2.0, True)]
NEAREST = {"apot"}  # levels of its own from the start
numbers = st.floats(-8, 8, width=32)


def values(count: int = 500) -> torch.Tensor:
    return 1.5 * torch.randn(count, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "bits"), CASES)
@pytest.mark.parametrize(("low", "high", "signed"), RANGES)
class TestStart:
    def test_codes_are_those_of_the_quantizer_before(self, name, bits, low, high, signed) -> None:
        before, x = uniform(bits, low, high, signed=signed), values()
        learner = started(name, before)
        if name not in NEAREST and (name, signed) != ("react", True):
            assert torch.equal(learner.codes(x), before.codes(x) - before.grid.qmin)
        levels = learner.code_levels()
        if name not in {*NEAREST, "react"}:
            assert torch.equal(learner(x), before(x))
        assert bool((levels.diff() > 0).all())
        if low == 0:
            assert float(levels.detach().min()) >= 0 or name == "react"

    def test_the_frozen_one_is_the_same(self, name, bits, low, high, signed) -> None:
        learner, x = started(name, uniform(bits, low, high, signed=signed), (0,)), values()
        frozen = learner.frozen()
        fixed = Steps(learner.grid, ())
        fixed.load_state_dict(dict(frozen.held))
        assert frozen.form == FORM
        assert torch.equal(fixed(x), learner(x))
        assert torch.equal(fixed.codes(x), learner.codes(x))
        assert len(frozen.held["thresholds"]) <= 31

    def test_levels_stay_where_they_are(self, name, bits, low, high, signed) -> None:
        learner = started(name, uniform(bits, low, high, signed=signed))
        levels = learner.code_levels().detach()
        assert torch.equal(learner.codes(levels), torch.arange(float(len(levels))))

    def test_it_is_taken_as_it_is_by_its_own_kind(self, name, bits, low, high, signed) -> None:
        first = started(name, uniform(bits, low, high, signed=signed))
        with torch.no_grad():
            for parameter in first.parameters():
                parameter.mul_(1.1)
        second = started(name, first)
        assert torch.equal(first(values()), second(values()))


@pytest.mark.parametrize(("name", "bits"), CASES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), x=st.lists(numbers, min_size=2, max_size=20))
def test_codes_rise_with_the_values_whatever_was_learned(name, bits, seed, x) -> None:
    learner = started(name, uniform(bits, -1.0, 2.0))
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw))
    ordered = torch.tensor(sorted(x))
    codes = learner.codes(ordered)
    assert bool((codes.diff() >= 0).all())
    assert torch.equal(learner(ordered), learner.code_levels()[codes.long()])
    assert bool((learner.thresholds_in_use().diff(dim=0) >= 0).all())


@pytest.mark.parametrize("entry", STAIRS, ids=lambda e: e.name)
def test_other_bits_are_refused_with_a_cure(entry) -> None:
    for bits in set(range(1, 9)) - set(entry.facts["bits"]):
        with pytest.raises(RecipeError, match=f"'{entry.name}' .*'{bits}' bits; ask for"):
            entry.make.own_grid(Grid(bits, signed=False))


class TestFixed:
    def test_a_value_on_a_threshold_is_above_it(self) -> None:
        steps = Steps(Grid(2, signed=False), ())
        steps.set_steps(torch.tensor([-1.0, 0.5, 2.0]), torch.tensor([-2.0, 0.0, 1.0, 5.0]))
        x = torch.tensor([-1.5, -1.0, 0.49, 0.5, 1.9, 2.0, 9.0])
        assert steps.codes(x).tolist() == [0, 1, 1, 2, 2, 3, 3]
        assert steps(x).tolist() == [-2, 0, 0, 1, 1, 5, 5]
        distances = steps.tie_distance(torch.tensor([0.5, 1.5, -3.0])) * (7 / 3)  # mean step
        assert distances.tolist() == pytest.approx([0, 0.5, 2])

    def test_thresholds_by_channel(self) -> None:
        steps = Steps(Grid(1, signed=False), (0, 2, 3))
        steps.set_steps(torch.tensor([[[0.0], [1.0]]]), torch.tensor([-1.0, 1.0]))
        x = torch.tensor([0.5, 1.5, -0.5]).expand(4, 2, 3)
        assert steps(x)[0].tolist() == [[1, 1, -1], [-1, 1, -1]]
        again = Steps(Grid(1, signed=False), ())
        again.load_state_dict(steps.state_dict())
        assert torch.equal(again(x), steps(x))

    @pytest.mark.parametrize(
        ("thresholds", "levels"),
        [([2.0, 1.0], [0.0, 1.0, 2.0]), ([1.0], [0.0]), ([1.0], [1.0, 1.0]), ([], [0.0])],
    )
    def test_what_is_no_staircase_is_refused(self, thresholds, levels) -> None:
        with pytest.raises(RecipeError, match="are no staircase"):
            Steps(Grid(2), ()).set_steps(torch.tensor(thresholds), torch.tensor(levels))


class TestMaths:
    def test_counting_and_distances(self) -> None:
        thresholds, x = torch.tensor([0.0, 1.0, 1.0, 3.0]), values()
        wide = thresholds[:, None] * torch.ones(1)
        assert torch.equal(count_steps(x, thresholds), count_steps(x, wide))
        assert torch.equal(distance_to_step(x, thresholds), distance_to_step(x, wide))

    def test_a_line_has_the_gradients_of_a_line(self) -> None:
        x = torch.tensor([-2.0, -0.3, 0.4, 0.9, 1.7, 5.0], dtype=torch.float64)
        knots = torch.tensor([-1.0, 0.0, 1.5, 2.0], dtype=torch.float64)
        heights = torch.tensor([0.0, 2.0, 3.0, 7.0], dtype=torch.float64)
        inputs = tuple(t.requires_grad_() for t in (x, knots, heights))
        assert torch.autograd.gradcheck(polyline, inputs)

    def test_a_table_gathers_the_gradients_of_its_entries(self) -> None:
        table = torch.arange(3.0).requires_grad_()
        found = look_up(table, torch.tensor([[0, 2], [2, 2]]))
        (found * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
        assert table.grad is not None
        assert table.grad.tolist() == [1, 0, 9]
