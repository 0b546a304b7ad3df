"""ACIQ (Banner et al. 2019, arXiv:1810.05723): the optimum clip of a fitted distribution.

A symmetric clip α over 2^M levels leaves, for Laplace(b) and N(0, σ²),

    MSE(α) = 2 b² e^(-α/b) + α² / (3 · 4^M)
    MSE(α) = (σ² + α²) erfc(α / √2σ) - √(2/π) α σ e^(-α²/2σ²) + α² / (3 · 4^M)

that is, clipping plus rounding. Setting the derivative to zero gives

    Laplace   α = b W(3 · 4^M),  W e^W = 3 · 4^M  (Lambert's W)
    Gauss     2 α/σ erfc(α / √2σ) - √(8/π) e^(-α²/2σ²) + 2 (α/σ) / (3 · 4^M) = 0

Behind a ReLU the levels share one side, which is worth a bit: M + 1. The likelier distribution is
taken: Laplace where b / σ < √(π / 2e), with b the mean deviation and σ the standard deviation
(0.707 and 0.798 for the two). The paper's code reads rounded constants from a table; here the
equations are solved. Ranges end where the data does.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from workbench.maths.calibrators.base import Range, Samples
from workbench.maths.calibrators.registry import calibrator
from workbench.maths.grid import Grid

LIKELIER = math.sqrt(math.pi / (2 * math.e))
STEPS = 100


@lru_cache
def laplace_clip(bits: float) -> float:
    """α / b of a two-sided grid with 2^bits levels; 5.028640 at 4 bits."""
    aim = 3.0 * 4.0**bits
    return _root(lambda x: x * math.exp(x) - aim, 0.0, math.log(aim) + 1.0)


@lru_cache
def gauss_clip(bits: float) -> float:
    """α / σ of a two-sided grid with 2^bits levels; 2.559136 at 4 bits."""

    def slope(x: float) -> float:
        tail = 2 * x * math.erfc(x / math.sqrt(2)) - math.sqrt(8 / math.pi) * math.exp(-x * x / 2)
        return tail + 2 * x / (3 * 4.0**bits)

    return _root(slope, 0.0, 40.0)


@calibrator(
    "aciq",
    title="Analytic clip (ACIQ)",
    citation="Banner et al. 2019, arXiv:1810.05723",
    data="none for weights, unlabelled for activations",
    cost="seconds",
    cells=("calibration/tensor_error",),
    strategy="reconstruction",
    use="few examples: it needs two moments and no search",
)
def aciq(samples: Samples, grid: Grid) -> Range:
    """Fits a Gauss or a Laplace distribution and clips at its optimum."""
    low, high = samples.extremes()
    one_sided = (low >= 0) | (high <= 0)
    x, counts = samples.values, samples.weights()
    counts = torch.where(one_sided[:, None], counts * (x != 0), counts)
    total = counts.sum(1).clamp(min=1e-30)
    centre = (x * counts).sum(1) / total
    centre = torch.zeros_like(centre) if grid.symmetric else centre.masked_fill(one_sided, 0.0)
    away = (x - centre[:, None]).abs()
    spread = (away * counts).sum(1) / total
    deviation = ((away.square() * counts).sum(1) / total).sqrt()
    clip = _clip(spread, deviation, one_sided, grid)
    return torch.maximum(low, centre - clip), torch.minimum(high, centre + clip)


def _clip(spread: Tensor, deviation: Tensor, one_sided: Tensor, grid: Grid) -> Tensor:
    bits = math.log2(grid.qmax - grid.qmin + 1)
    more = 0.0 if grid.symmetric and grid.signed else 1.0  # symmetric grids spend half on nothing
    two = _likelier(spread, deviation, bits)
    return torch.where(one_sided, _likelier(spread, deviation, bits + more), two)


def _likelier(spread: Tensor, deviation: Tensor, bits: float) -> Tensor:
    laplace = spread < LIKELIER * deviation
    return torch.where(laplace, spread * laplace_clip(bits), deviation * gauss_clip(bits))


def _root(function, low: float, high: float) -> float:  # noqa: ANN001
    """Where a function that rises through zero does so, by bisection."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if function(middle) > 0 else (middle, high)
    return (low + high) / 2
