"""Measures of difference between a float result and its quantized version."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

#: decibels are cut off here, so that an exact match stays a finite number
EXACT_DB = 200.0


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise), limited to +-`EXACT_DB`."""
    if noise <= 0:
        return EXACT_DB
    if signal <= 0:
        return -EXACT_DB
    return max(-EXACT_DB, min(EXACT_DB, 10.0 * math.log10(signal / noise)))


def sqnr_db(reference: Tensor, x: Tensor) -> float:
    """Signal to quantization noise ratio in dB, 10 log10(Σ reference² / Σ (reference - x)²)."""
    reference = reference.double()
    noise = (reference - x.double()).square().sum()
    return decibels(float(reference.square().sum()), float(noise))


def uniform_sqnr_db(bits: int) -> float:
    """SQNR of a uniform input whose ends are levels of a grid of 2^bits, 20 log10(2^bits - 1)."""
    return 20.0 * math.log10(2**bits - 1) if bits > 0 else 0.0


def cosine(reference: Tensor, x: Tensor) -> float:
    """Cosine of the angle between two tensors taken as vectors, in [-1, 1]."""
    pair = reference.double().flatten(), x.double().flatten()
    return float(functional.cosine_similarity(*pair, dim=0))


def kl_divergence(reference: Tensor, logits: Tensor) -> float:
    """Mean KL(softmax(reference) ‖ softmax(logits)) in nats, over all leading positions."""
    teacher = functional.log_softmax(reference.double().flatten(0, -2), dim=-1)
    student = functional.log_softmax(logits.double().flatten(0, -2), dim=-1)
    return float(functional.kl_div(student, teacher, log_target=True, reduction="batchmean"))


def agreement(reference: Tensor, logits: Tensor) -> float:
    """Share of positions, in [0, 1], whose largest logit has the same index."""
    return float((reference.argmax(-1) == logits.argmax(-1)).double().mean())


def spearman(x: Tensor, y: Tensor) -> float:
    """Rank correlation in [-1, 1] of two lists of numbers; ties share their mean rank.

    Example:
        >>> round(spearman(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 5.0, 4.0])), 6)
        0.5
    """
    ranks = torch.stack([_ranks(x), _ranks(y)])
    return float(torch.corrcoef(ranks)[0, 1].nan_to_num())


def _ranks(x: Tensor) -> Tensor:
    _, place, counts = x.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2).double()[place]
