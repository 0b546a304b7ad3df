"""The streaming histogram: nothing is lost, whatever the order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.maths.histogram import Histogram

chunks = st.lists(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20), min_size=1, max_size=8
)


@given(chunks)
def test_every_value_is_counted_inside_its_own_bin_range(parts: list[list[float]]) -> None:
    histogram = Histogram(64)
    for part in parts:
        histogram.add(torch.tensor(part))
    everything = torch.tensor([v for part in parts for v in part])
    assert float(histogram.counts.sum()) == len(everything) == histogram.total
    assert histogram.low == float(everything.min())
    assert histogram.high == float(everything.max())
    assert histogram.start <= histogram.low
    assert histogram.high <= float(histogram.edges[-1]) * (1 + 1e-9) + 1e-9


def test_memory_is_fixed_and_bins_are_merged_in_pairs() -> None:
    histogram = Histogram(16)
    histogram.add(torch.rand(1000))
    histogram.add(torch.rand(1000) * 1000)
    assert histogram.bins == 16
    assert float(histogram.counts.sum()) == 2000


def test_strange_values_are_counted_apart() -> None:
    histogram = Histogram(16)
    histogram.add(torch.tensor([1.0, float("nan"), float("inf"), 2.0]))
    assert histogram.strange == 2
    assert histogram.total == 2


def test_the_average_of_extremes_forgets_its_start_at_zero() -> None:
    histogram = Histogram(16)
    histogram.add(torch.tensor([-1.0, 5.0]))
    assert histogram.averaged == pytest.approx((-1, 5))
    histogram.add(torch.tensor([-3.0]), torch.tensor([7.0]))  # one batch in two parts
    weights = 0.1 * 0.9, 0.1
    expected = [(a * weights[0] + b * weights[1]) / sum(weights) for a, b in ((-1, -3), (5, 7))]
    assert histogram.averaged == pytest.approx(expected)
    assert (histogram.low, histogram.high) == (-3, 7)


def test_one_freak_batch_moves_the_average_little() -> None:
    histogram = Histogram(64)
    for turn in range(40):
        histogram.add(torch.tensor([0.0, 1000.0 if turn == 20 else 1.0]))
    assert histogram.high == 1000
    assert histogram.averaged[1] < 20
