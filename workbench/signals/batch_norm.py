"""Batch-norm statistics as a signal: what inner values of natural examples look like.

    L = Σ_l ( ‖μ_l(x) - mean_l‖² + ‖σ_l(x) - deviation_l‖² ) / channels_l

It drives the inputs instead of a quantizer: ZeroQ (Cai et al. 2020, arXiv:2001.00281) takes μ and σ
of each example over its positions and sums over the examples, Genie (Jeon et al. 2023,
arXiv:2212.04780) takes them over examples and positions at once, which leaves the examples free to
differ. Both add 1e-6 to the variance or leave it, as their released code does.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-6


def statistics(x: Tensor, axis: int, *, each: bool) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel.

    Args:
        x: values, with the examples along the first axis.
        axis: of the channels, 1 or -1.
        each: of each example by itself, `(examples, channels)`; else of all, `(1, channels)`.
            An example with one position has no deviation, so all are taken then.

    Example:
        >>> mean, deviation = statistics(torch.tensor([[[1.0, 3.0]], [[5.0, 5.0]]]), 1, each=True)
        >>> mean.tolist(), [round(d, 1) for d in deviation.flatten().tolist()]
        ([[2.0], [5.0]], [1.4, 0.0])
    """
    rows = x.movedim(axis, 1).flatten(2) if x.ndim > 2 else x.unsqueeze(2)
    if not each or rows.shape[2] < 2:
        rows = rows.transpose(0, 1).flatten(1).unsqueeze(0)  # (1, channels, examples * positions)
    variance = rows.var(dim=2, unbiased=rows.shape[2] > 1)
    return rows.mean(dim=2), torch.sqrt(variance + EPSILON)


def mismatch(x: Tensor, axis: int, wanted: tuple[Tensor, Tensor], *, each: bool) -> Tensor:
    """How far the statistics of `x` lie from the wanted mean and deviation; a scalar.

    Args:
        x, axis, each: as for `statistics`.
        wanted: mean and deviation, `(channels,)` each.
    """
    mean, deviation = statistics(x, axis, each=each)
    apart = (mean - wanted[0]).square() + (deviation - wanted[1]).square()
    return apart.sum() / apart.shape[1]
