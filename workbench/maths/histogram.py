"""A streaming histogram in fixed memory, with true bins.

When a value falls outside, the bins are merged in pairs and the covered range doubles towards it,
so counts are never spread over bins by guesswork and the order of batches hardly matters.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

#: share of the past in the moving average of extremes
MOMENTUM = 0.9


class Histogram:
    """Counts of a stream of values.

    Attributes:
        counts: float64 tensor of `bins` counts.
        start, width: left end of the first bin and width of each.
        low, high: exact extremes seen; total: number of finite values; strange: NaN and infinite.
        averaged: moving average of the batches' least and largest values.
    """

    def __init__(self, bins: int = 2048) -> None:
        if bins < 2 or bins % 2:
            raise ValueError(f"bins was {bins}; give an even number of at least 2")
        self.counts = torch.zeros(bins, dtype=torch.float64)
        self.start = 0.0
        self.width = 0.0
        self.low = math.inf
        self.high = -math.inf
        self.total = 0
        self.strange = 0
        self._average = (0.0, 0.0)
        self._weight = 0.0

    @property
    def bins(self) -> int:
        """Number of bins."""
        return len(self.counts)

    @property
    def edges(self) -> Tensor:
        """The bins + 1 edges, float64."""
        return self.start + self.width * torch.arange(self.bins + 1, dtype=torch.float64)

    @property
    def centres(self) -> Tensor:
        """Middle of each bin, float64."""
        return self.start + self.width * (torch.arange(self.bins, dtype=torch.float64) + 0.5)

    @property
    def averaged(self) -> tuple[float, float]:
        """Moving average of each batch's extremes, without the weight of its start at zero."""
        low, high = self._average
        return (low / self._weight, high / self._weight) if self._weight else (self.low, self.high)

    @torch.no_grad()
    def add(self, *parts: Tensor) -> None:
        """Count all values of the tensors of one batch."""
        ends = [self._count(part.detach().flatten().float()) for part in parts]
        seen = [end for end in ends if end is not None]
        if not seen:
            return
        low, high = min(low for low, _ in seen), max(high for _, high in seen)
        self.low, self.high = min(self.low, low), max(self.high, high)
        past = self._average
        new = 1.0 - MOMENTUM
        self._average = MOMENTUM * past[0] + new * low, MOMENTUM * past[1] + new * high
        self._weight = MOMENTUM * self._weight + new

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "start": self.start,
            "width": self.width,
            "counts": self.counts.tolist(),
            "low": self.low,
            "high": self.high,
            "total": self.total,
            "strange": self.strange,
        }

    def _count(self, x: Tensor) -> tuple[float, float] | None:
        """Count the finite values; their extremes, or None where there are none."""
        low, high = (float(v) for v in torch.aminmax(x)) if x.numel() else (math.inf, -math.inf)
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = x[torch.isfinite(x)]
            self.strange += x.numel() - finite.numel()
            if not finite.numel():
                return None
            x, low, high = finite, float(finite.min()), float(finite.max())
        self._cover(low, high)
        end = self.start + self.width * self.bins
        self.counts += torch.histc(x.cpu(), self.bins, self.start, end).double()
        self.total += x.numel()
        return low, high

    def _cover(self, low: float, high: float) -> None:
        if self.width == 0.0:
            spread = max(high - low, 1e-6 * max(abs(low), abs(high)), 1e-12)
            self.start, self.width = low, spread * (1 + 1e-6) / self.bins
        while high > self.start + self.width * self.bins:
            self._double(towards_left=False)
        while low < self.start:
            self._double(towards_left=True)

    def _double(self, *, towards_left: bool) -> None:
        half = self.bins // 2
        merged = self.counts.reshape(half, 2).sum(dim=1)
        empty = torch.zeros_like(merged)
        self.counts = torch.cat((empty, merged) if towards_left else (merged, empty))
        if towards_left:
            self.start -= self.width * self.bins
        self.width *= 2
