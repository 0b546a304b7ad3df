"""The reservoir: bounded, and fair to late rows."""

from __future__ import annotations

import pytest
import torch

from workbench.maths.reservoir import Reservoir


def test_a_short_stream_is_kept_whole_and_in_order() -> None:
    reservoir = Reservoir()
    x = torch.arange(24.0).reshape(2, 4, 3)
    reservoir.add(x[:1])
    reservoir.add(x[1:])
    assert torch.equal(reservoir.rows, x.reshape(8, 3))


def test_a_long_stream_is_sampled_evenly() -> None:
    reservoir = Reservoir(most_rows=1000)
    for part in torch.arange(50_000.0).reshape(-1, 1).split(700):
        reservoir.add(part)
    assert reservoir.rows.shape == (1000, 1)
    quarters = torch.histc(reservoir.rows, 4, 0, 50_000) / 1000
    assert quarters.tolist() == pytest.approx([0.25] * 4, abs=0.05)


def test_wide_rows_are_fewer() -> None:
    reservoir = Reservoir()
    reservoir.add(torch.zeros(9, 1 << 20))
    assert len(reservoir.rows) == 4


def test_an_empty_one_says_so() -> None:
    with pytest.raises(ValueError, match="add a tensor first"):
        Reservoir().rows  # noqa: B018
