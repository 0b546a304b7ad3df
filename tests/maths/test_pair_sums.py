"""Pairs of products in 16 bits, against plain integers."""

from __future__ import annotations

import torch

from workbench.maths.pair_sums import pair_sums, saturated


def test_the_largest_pair_is_cut_to_sixteen_bits():
    x, weight = torch.full((1, 4), 255), torch.tensor([[127, 127, -128, -128]])
    pairs = pair_sums(x, weight)
    assert pairs.tolist() == [[[2 * 255 * 127.0, -2 * 255 * 128.0]]]
    assert saturated(pairs).tolist() == [[[32767.0, -32768.0]]]


def test_seven_bits_always_fit():
    x, weight = torch.full((1, 2), 255), torch.tensor([[63, 63], [-64, -64]])
    pairs = pair_sums(x, weight)
    assert torch.equal(saturated(pairs), pairs)


def test_pairs_add_up_to_the_product_whatever_the_shape():
    random = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (2, 3, 7), generator=random)
    weight = torch.randint(-128, 128, (5, 7), generator=random)
    pairs = pair_sums(x, weight)
    assert pairs.shape == (2, 3, 5, 4)
    assert torch.equal(pairs.sum(-1).long(), x @ weight.T)
