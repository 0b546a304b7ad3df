"""Second moments of a layer's inputs, and the rounding problem that they pose.

With inputs x_q (from the already quantized prefix) and x (float), a row w of the float weight and
its quantized version ŵ, the mean squared output error over the calibration rows is

    E |w·x - ŵ·x_q|² = (ŵ - t) H (ŵ - t)ᵀ + const,   H = E x_q x_qᵀ,   C = E x x_qᵀ
    t = (w C + λ w)(H + λ I)⁻¹                        the compensated target (ridge towards w)

so that after H, C and the means have been gathered in one pass, rounding costs nothing per image.
Where the layer has a bias both moments are centred, and the best bias follows in closed form:

    b̂ = b + w·E x - ŵ·E x_q

Shapes: G groups of a convolution (1 otherwise), O rows (output channels) in each, K inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: columns of a symmetric product that are computed at once
PANEL = 192


class Moments:
    """Streaming first and second moments of a layer's inputs; memory does not grow with the data.

    Args:
        groups, inputs: G and K.
        weight: (G, O, K), where only W C will be asked for: with few rows it is cheaper than C.

    Attributes:
        second: (G, K, K) float64, sum of x_q x_qᵀ.
        cross: (G, K, K) sum of x x_qᵀ, or (G, O, K) sum of W x x_qᵀ where a weight was given; None
            while both inputs are the same.
        sum_float, sum_quantized: (G, K); count: rows seen.
    """

    def __init__(self, groups: int, inputs: int, weight: Tensor | None = None) -> None:
        self.second = torch.zeros(groups, inputs, inputs, dtype=torch.float64)
        narrow = weight is not None and 2 * weight.shape[1] < inputs
        self._weight = weight if narrow else None
        self.cross: Tensor | None = None
        self.sum_float = torch.zeros(groups, inputs, dtype=torch.float64)
        self.sum_quantized = torch.zeros_like(self.sum_float)
        self.count = 0

    @torch.no_grad()
    def add(self, quantized: Tensor, floats: Tensor | None = None) -> None:
        """Add rows of shape (G, N, K); `floats` None says that both inputs are the same."""
        total, second = quantized.sum(dim=1).double(), gram_matrix(quantized)
        self.sum_quantized += total
        if floats is None or floats is quantized:
            self.sum_float += total
            product = None if self.cross is None else self._reduced(second)
        else:
            self.sum_float += floats.sum(dim=1).double()
            self.cross = self._reduced(self.second) if self.cross is None else self.cross
            product = self._product(floats, quantized)
        if product is not None:
            assert self.cross is not None
            self.cross += product
        self.second += second
        self.count += quantized.shape[1]

    def goal(self, weight: Tensor) -> Tensor:
        """(G, O, K) float64 sum of W x x_qᵀ for the weight, the one given if one was."""
        if self.cross is None:
            return weight.double() @ self.second
        return self.cross if self._weight is not None else weight.double() @ self.cross

    def output(self, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """(G, O) mean square of W x_q + b, for weights (G, O, K) and b (G, O)."""
        wide, count = weight.double(), max(1, self.count)
        power = ((wide @ self.second) * wide).sum(-1) / count
        if bias is None:
            return power
        mean = (wide @ self.sum_quantized[..., None]).squeeze(-1) / count
        return power + 2 * mean * bias + bias.double().square()

    def held(self) -> tuple[Tensor, Tensor, Tensor]:
        """Everything, of moments of one input, for `restored`."""
        return self.second, self.sum_quantized, torch.tensor(self.count)

    @staticmethod
    def restored(held: tuple[Tensor, Tensor, Tensor]) -> Moments:
        """What `held` gave."""
        second, total, count = held
        moments = Moments(second.shape[0], second.shape[1])
        moments.second, moments.sum_quantized, moments.sum_float = second, total, total
        moments.count = int(count)
        return moments

    def _reduced(self, second: Tensor) -> Tensor:
        return second.clone() if self._weight is None else self._weight.to(second.dtype) @ second

    def _product(self, floats: Tensor, quantized: Tensor) -> Tensor:
        left = floats if self._weight is None else floats @ self._weight.mT
        return left.mT @ quantized


def gram_matrix(rows: Tensor) -> Tensor:
    """(G, K, K) sum of x xᵀ over rows (G, N, K); of large ones the upper half is mirrored."""
    columns = rows.mT
    size = columns.shape[1]
    if size <= PANEL:
        return columns @ rows
    out = rows.new_empty(rows.shape[0], size, size)
    for first in range(0, size, PANEL):
        last = min(first + PANEL, size)
        part = columns[:, first:last] @ rows[..., first:]
        out[:, first:last, first:] = part
        out[:, last:, first:last] = part[..., last - first :].mT
    return out


@dataclass(frozen=True)
class Problem:
    """One layer's rounding problem: bring rows near `target` in the norm of `hessian`.

    Attributes:
        target: (G, O, K) compensated weights; hessian: (G, K, K), damped.
    """

    target: Tensor
    hessian: Tensor

    def error(self, rounded: Tensor) -> Tensor:
        """(G, O) mean squared output error of each row, up to the constant."""
        gap = rounded - self.target
        return ((gap @ self.hessian) * gap).sum(-1)


def pose(
    weight: Tensor,
    moments: Moments,
    *,
    centred: bool,
    damping: float,
    rounding: float | None = None,
) -> Problem:
    """The rounding problem of `weight` (G, O, K).

    Args:
        weight: of the float layer.
        moments: of its inputs.
        centred: True where a bias takes up the mean error.
        damping: ridge as a share of the mean diagonal of H; grows with K / rows, because moments of
            few rows leave directions in which anything seems free.
        rounding: the same for the H that weighs rounding errors; None takes `damping`. Moments of
            few examples miss directions that others use, and codes chosen against them stay.
    """
    count = max(1, moments.count)
    wide = weight.double()
    second, goal = moments.second / count, moments.goal(weight) / count
    if centred:
        mean, mean_float = moments.sum_quantized / count, moments.sum_float / count
        second -= mean[:, :, None] * mean[:, None, :]
        goal = goal - (wide @ mean_float[..., None]) * mean[:, None, :]
    size = second.shape[-1]
    average = second.diagonal(dim1=1, dim2=2).mean(-1).clamp(min=1e-12)
    unit = (1.0 + size / count) * average[:, None]
    ridge, more = (d * unit + 1e-9 * average[:, None] for d in (damping, rounding or damping))
    diagonal = second.diagonal(dim1=1, dim2=2)
    diagonal.add_(ridge)
    target = torch.linalg.solve(second, goal + wide * ridge[..., None], left=False)
    diagonal.add_(more - ridge)
    return Problem(target.float().contiguous(), second.float())


def corrected_bias(weight: Tensor, rounded: Tensor, moments: Moments) -> Tensor:
    """(G, O) to add to the bias: w·E x - ŵ·E x_q."""
    mean, mean_float = moments.sum_quantized / moments.count, moments.sum_float / moments.count
    moved = weight.double() @ mean_float[..., None] - rounded.double() @ mean[..., None]
    return moved.squeeze(-1).float()
