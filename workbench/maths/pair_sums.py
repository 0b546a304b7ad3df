"""Sums of uint8 × int8 products as x86 kernels without VNNI make them: in pairs, in 16 bits.

    p_k = clip16(x_2k w_2k + x_2k+1 w_2k+1),   sum = Σ p_k in 32 bits        vpmaddubsw, vpmaddwd

A pair reaches 2 · 255 · 128, and 16 bits end at 32767: what is beyond is lost. Neighbours are those
along the summed axis; of a convolution that is its channels first, then its taps.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST, MOST = -(2**15), 2**15 - 1


def pair_sums(x: Tensor, weight: Tensor) -> Tensor:
    """The exact sum of each pair of products, `(..., outputs, pairs)`, whole numbers as floats.

    Args:
        x: codes of the data, `(..., inputs)`, 0 to 255.
        weight: codes of the weights, `(outputs, inputs)`, -128 to 127; an odd last one is alone.
    """
    odd = (0, x.shape[-1] % 2)
    data, factors = (
        torch.nn.functional.pad(each.float(), odd).unflatten(-1, (-1, 2)) for each in (x, weight)
    )
    return torch.einsum("...kp,okp->...ok", data, factors)


def saturated(pairs: Tensor) -> Tensor:
    """What 16 bits hold of each pair."""
    return pairs.clamp(LEAST, MOST)
