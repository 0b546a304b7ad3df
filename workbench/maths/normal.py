"""Normal distributions behind clips and other functions of one value, and running statistics.

    E[clip(x)] = a Φ(α) + b (1 - Φ(β)) + μ (Φ(β) - Φ(α)) + σ (φ(α) - φ(β))

with α = (a - μ) / σ and β = (b - μ) / σ (Nagel et al. 2019, arXiv:1906.04721, appendix C). What a
smooth function makes of a normal distribution is found by Gauss-Hermite quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

POINTS = 32


def clipped_normal(
    mean: Tensor, deviation: Tensor, low: float = -math.inf, high: float = math.inf
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of `min(max(x, low), high)` for normal `x`, element by element.

    Args:
        mean, deviation: of `x`, of one shape; a deviation of zero stands for a constant.
        low, high: the limits, infinite where there are none.

    Example:
        >>> mean, deviation = clipped_normal(torch.zeros(1), torch.ones(1), low=0.0)
        >>> round(float(mean), 6), round(float(deviation), 6)
        (0.398942, 0.583819)
    """
    mu, sigma = mean.double(), deviation.double().clamp(min=1e-12)
    a, b = (low - mu) / sigma, (high - mu) / sigma
    inside = _cumulative(b) - _cumulative(a)
    first = mu * inside + sigma * (_density(a) - _density(b))
    second = (mu.square() + sigma.square()) * inside
    second = second + sigma * (_edge(mu, low, _density(a)) - _edge(mu, high, _density(b)))
    if math.isfinite(low):
        first, second = first + low * _cumulative(a), second + low**2 * _cumulative(a)
    if math.isfinite(high):
        above = _cumulative(-b)
        first, second = first + high * above, second + high**2 * above
    variance = (second - first.square()).clamp(min=0)
    return first.to(mean.dtype), variance.sqrt().to(mean.dtype)


def mapped_normal(
    function: Callable[[Tensor], Tensor], mean: Tensor, deviation: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of a smooth `function` of normal `x`, element by element.

    Args:
        function: of tensors `(points, channels)`, each value by itself.
        mean, deviation: of `x`, `(channels,)`.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(POINTS)
    share = torch.from_numpy(weights / weights.sum())[:, None]
    x = mean.double() + deviation.double() * torch.from_numpy(points)[:, None]
    y = function(x.to(mean.dtype)).double()
    found = (share * y).sum(0)
    variance = (share * (y - found).square()).sum(0)
    return found.to(mean.dtype), variance.sqrt().to(mean.dtype)


class ChannelStatistics:
    """Mean and deviation of each channel, gathered batch by batch in float64.

    Attributes:
        count: values seen of each channel.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sum = self._squares = torch.zeros(1, dtype=torch.float64)

    def add(self, x: Tensor, axis: int) -> None:
        """Take in a tensor with its channels along `axis`."""
        rows = x.detach().movedim(axis, 0).flatten(1).double()
        self.count += rows.shape[1]
        self._sum = self._sum + rows.sum(1)
        self._squares = self._squares + rows.square().sum(1)

    @property
    def mean(self) -> Tensor:
        """Of each channel, float64."""
        return self._sum / max(1, self.count)

    @property
    def deviation(self) -> Tensor:
        """Of each channel, float64; divided by the count."""
        mean_square = self._squares / max(1, self.count)
        return (mean_square - self.mean.square()).clamp(min=0).sqrt()


def _cumulative(x: Tensor) -> Tensor:
    return torch.special.ndtr(x)


def _density(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)


def _edge(mean: Tensor, limit: float, density: Tensor) -> Tensor:
    """(μ + limit) φ, which is nothing at infinity."""
    return (mean + limit) * density if math.isfinite(limit) else torch.zeros_like(mean)
