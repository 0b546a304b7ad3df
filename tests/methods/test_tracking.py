"""Oscillation of codes, counted by hand, and what is held fast (Nagel et al. 2022, sec. 4.3)."""

from __future__ import annotations

import pytest
import torch

from workbench.methods.tracking import MOMENTUM, CodeHistory, falling

STEADY, LEAPING, SWINGING = 0, 1, 2


def watched(averaged: bool = True) -> CodeHistory:
    """Codes that stay, that change once, and that come and go."""
    history = CodeHistory(torch.tensor([2.0, 0.0, 1.0]))
    for codes in ([2.0, 3.0, 0.0], [2.0, 3.0, 1.0], [2.0, 3.0, 1.0], [2.0, 3.0, 0.0]):
        history.see(torch.tensor(codes), averaged=averaged)
    return history


def test_a_change_against_the_last_one_is_an_oscillation():
    history = watched()
    expected = 0.0
    for turned in (0.0, 1.0, 0.0, 1.0):  # of the last code: down, up again, none, down again
        expected = MOMENTUM * turned + (1 - MOMENTUM) * expected
    assert history.frequency.tolist() == pytest.approx([0.0, 0.0, expected])
    assert history.direction.tolist() == [0.0, 3.0, -1.0]
    assert history.readings()["oscillating"] == pytest.approx(1 / 3)


def test_flips_are_a_running_share_of_the_codes():
    expected = 0.0
    for share in (2 / 3, 1 / 3, 0.0, 1 / 3):
        expected += 5 * MOMENTUM * (share - expected)
    assert watched().readings()["flips_per_step"] == pytest.approx(expected)


def test_what_oscillates_is_fixed_at_its_rounded_mean():
    history = watched()
    history.freeze(0.5 * MOMENTUM)
    assert history.frozen.tolist() == [False, False, True]
    assert history.fixed[SWINGING] == 1.0  # where it mostly was
    assert history.readings()["frozen"] == pytest.approx(1 / 3)


def test_the_mean_is_kept_where_something_needs_it():
    kept, left = watched().mean, watched(averaged=False).mean
    assert kept[LEAPING] == pytest.approx(3 * (1 - (1 - MOMENTUM) ** 4))
    assert left.tolist() == [2.0, 0.0, 1.0]


def test_the_threshold_falls_from_ten_times_to_once():
    assert [falling(0.02, done) for done in (0.0, 0.5, 1.0)] == pytest.approx([0.2, 0.11, 0.02])
