"""ReActNet's sign of activations: a shift for each channel, and its surrogate."""

from __future__ import annotations

import pytest
import torch

from tests.quantizers.stairs import gradients, set_to, started, uniform
from workbench.maths.grid import Grid
from workbench.quantizers.react import React, ReactOptions


def unit(shape: tuple[int, ...] = ()) -> React:
    return React(Grid(1, signed=False), shape)


def test_slopes_of_the_surrogate() -> None:
    x = torch.tensor([-1.2, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])
    assert gradients(unit(), x)["x"].tolist() == [0, 0, 1, 2, 1, 0, 0]


def test_zero_is_positive() -> None:
    found = unit()
    assert found(torch.tensor([-1e-30, -0.0, 0.0, 1e-30])).tolist() == [-1, 1, 1, 1]
    assert found.codes(torch.tensor([-1.0, 0.0])).tolist() == [0, 1]


def test_gradients_derived_by_hand() -> None:
    """s = 2, β = 1: at x = 2 and 0.6, u = 0.5 and -0.2."""
    found = unit()
    set_to(found.scale, 2.0)
    set_to(found.shift, 0.5)
    x = torch.tensor([2.0, 0.6])
    assert found(x).tolist() == [2, -2]
    got = gradients(found, x)
    assert got["x"].tolist() == pytest.approx([1, 1.6])
    assert float(got["scale"]) == 0
    assert float(got["shift"]) == pytest.approx(-2 * (1 + 1.6))  # in units of s


@pytest.mark.parametrize(
    ("shape", "axis", "wanted"),
    [((0, 8, 6, 6), 1, (8, 1, 1)), ((0, 5), 1, (5,)), ((0, 7, 5), 2, (5,)), ((0, 0, 4), 1, ())],
)
def test_channels_have_shifts_of_their_own(shape, axis, wanted) -> None:
    found = React(Grid(1, signed=False), shape, ReactOptions(axis=axis))
    assert found.shift.shape == wanted
    assert found.frozen().held["thresholds"].shape == (1, *wanted)


def test_each_channel_learns_its_own() -> None:
    found = unit((0, 2, 3))
    set_to(found.shift, [[0.0], [1.0]])
    x = torch.tensor([0.5, 0.2, 1.5]).expand(4, 2, 3)
    assert found(x)[0].tolist() == [[1, 1, 1], [-1, -1, 1]]
    slopes = 2 - 2 * (x[0] - torch.tensor([[0.0], [1.0]])).abs()
    got = gradients(found, x)["shift"]
    assert got.flatten().tolist() == pytest.approx((-4 * slopes.clamp(min=0).sum(1)).tolist())


def test_it_keeps_the_threshold_and_centres_the_levels() -> None:
    before = uniform(1, 0.0, 3.0)
    found = started("react", before)
    assert found.thresholds_in_use().item() == pytest.approx(1.5)
    assert found.code_levels().tolist() == pytest.approx([-1.5, 1.5])
