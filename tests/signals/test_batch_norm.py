"""Statistics of inner values, by hand."""

from __future__ import annotations

import torch

from workbench.signals.batch_norm import EPSILON, mismatch, statistics


def test_of_each_example_and_of_all():
    x = torch.tensor([[[0.0, 2.0], [4.0, 4.0]], [[6.0, 8.0], [4.0, 4.0]]])  # (2, 2 channels, 2)
    mean, deviation = statistics(x, 1, each=True)
    assert torch.equal(mean, torch.tensor([[1.0, 4.0], [7.0, 4.0]]))
    wanted = torch.tensor([[2.0, 0.0], [2.0, 0.0]]).add(EPSILON).sqrt()
    torch.testing.assert_close(deviation, wanted)
    mean, deviation = statistics(x, 1, each=False)
    assert torch.equal(mean, torch.tensor([[4.0, 4.0]]))
    wanted = torch.tensor([[40.0 / 3, 0.0]]).add(EPSILON).sqrt()  # 16 + 4 + 4 + 16 over n - 1
    torch.testing.assert_close(deviation, wanted)


def test_channels_may_come_last_and_single_positions_take_the_batch():
    x = torch.randn(5, 3, 4)
    for each in (True, False):
        first, last = statistics(x, 1, each=each), statistics(x.transpose(1, 2), -1, each=each)
        assert all(torch.equal(a, b) for a, b in zip(first, last, strict=True))
    rows = torch.randn(6, 3)
    mean, deviation = statistics(rows, -1, each=True)
    torch.testing.assert_close(mean, rows.mean(0, keepdim=True))
    torch.testing.assert_close(deviation, (rows.var(0, keepdim=True) + EPSILON).sqrt())


def test_mismatch_sums_over_examples_and_averages_over_channels():
    x = torch.tensor([[[1.0, 1.0], [3.0, 3.0]], [[2.0, 2.0], [3.0, 3.0]]])
    wanted = torch.zeros(2), torch.full((2,), EPSILON**0.5)
    found = mismatch(x, 1, wanted, each=True)
    torch.testing.assert_close(found, torch.tensor((1 + 9 + 4 + 9) / 2.0))
    assert float(mismatch(x, 1, statistics(x, 1, each=False), each=False)) == 0.0
