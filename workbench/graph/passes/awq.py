"""AWQ: the weights that matter get finer steps (Lin et al. 2024, arXiv:2306.00978).

A weight matters as much as the activation it is multiplied with. Weights of input channel j are
multiplied by

    s_j = mean |X_j|^r,   normalised to s / sqrt(max s · min s)

before they are quantized, so that their rounding error, divided by s_j again, shrinks. The exponent
r is searched on a grid of 20 for the least error of the outputs,

    min over r of  Σ ‖(Q(W diag(s)) diag(s)⁻¹ - W) X‖²  =  Σ tr ΔW (X Xᵀ) ΔWᵀ,

summed over all layers that read X. r = 0 leaves everything as it is, so nothing gets worse. The
second moments X Xᵀ are gathered once and the search needs no more data. The paper compares the
output of a block's piece; here it is that of the layers. Its search for clipped ranges is left to
what calibrates the weights afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import onnx_ir as ir
import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.passes.base import FoldRecord
from workbench.graph.passes.observe import sources
from workbench.graph.passes.registry import Batches, Measured, Transform, transformation
from workbench.graph.passes.scaling import Group, groups, scale
from workbench.maths.grid import Granularity, Grid, affine_range, fake_quantize
from workbench.maths.ranges import weight_range

RATIOS = 20
SMALLEST = 1e-4


class AwqOptions(Options):
    """Options of AWQ."""

    bits: Annotated[
        int, Field(ge=1, le=8, description="of the weights; the recipe's if not given")
    ] = 4
    group_size: Annotated[
        int, Field(ge=0, le=4096, description="weights in a group; 0: a scale for each channel")
    ] = 0
    symmetric: Annotated[bool, Field(description="grid of the weights has no zero-point")] = True
    examples: Annotated[
        int, Field(ge=1, le=100_000, description="calibration examples to look at")
    ] = 128

    def grid(self) -> Grid:
        """That of a weight `(outputs, inputs)`."""
        size = self.group_size
        granularity = Granularity("group", 1, size) if size else Granularity("channel", 0)
        return Grid(self.bits, self.symmetric, self.symmetric, granularity)


@dataclass
class _Seen:
    """Sums over the rows of a source: of |x|, `(channels,)`, and of x xᵀ."""

    total: Tensor
    second: Tensor
    count: int = 0


@transformation(
    "awq",
    title="AWQ: finer steps for weights that matter",
    citation="Lin et al. 2024, arXiv:2306.00978",
    order=70,
    exact=True,
    options=AwqOptions,
    signal="layer output error",
    data="unlabelled, 128 examples",
    cost="seconds",
    cells=("transform/layer_error",),
    strategy="reconstruction",
    use="transformers with float activations, group-wise weights of 4 bits and below",
)
class Awq(Transform):
    """Scales each input channel by a power of its mean activation, searched for the least error."""

    options: AwqOptions

    def measure(self, model: ir.Model, batches: Batches) -> dict[str, Tensor]:
        """s of each channel, by the tensor that is divided."""
        found = [group for group in groups(model.graph) if group.folds and _plain(group)]
        seen = {
            group.name: _Seen(torch.zeros(n), torch.zeros(n, n, dtype=torch.float64))
            for group in found
            if (n := group.channels)
        }
        for group, rows in sources(model, found, batches, self.options.examples):
            sums = seen[group.name]
            sums.total += rows.abs().sum(0)
            sums.second += (rows.T @ rows).double()
            sums.count += len(rows)
        return {group.name: self._search(group, seen[group.name]) for group in found}

    def apply(self, model: ir.Model, measured: Measured) -> FoldRecord:
        return scale(model, measured, "channels scaled by what they carry")

    def _search(self, group: Group, seen: _Seen) -> Tensor:
        """The best factors of a group."""
        mean, second = seen.total / seen.count, (seen.second / seen.count).float()
        weights = [layer.weight[0, :, :, 0].float() for layer in group.readers]
        grid = self.options.grid()
        candidates = [importance(mean, step / RATIOS) for step in range(RATIOS)]
        errors = [
            sum(output_error(weight, factors, second, grid) for weight in weights)
            for factors in candidates
        ]
        return candidates[min(range(RATIOS), key=errors.__getitem__)]


def importance(mean: Tensor, ratio: float) -> Tensor:
    """s of each channel, normalised.

    Example:
        >>> importance(torch.tensor([4.0, 1.0, 0.25]), 0.5).tolist()
        [2.0, 1.0, 0.5]
    """
    powers = (mean**ratio).clamp(min=SMALLEST)
    return powers / (powers.max() * powers.min()).sqrt()


def output_error(weight: Tensor, factors: Tensor, second: Tensor, grid: Grid) -> float:
    """Mean squared error of a layer's outputs, summed over them.

    Args:
        weight: (outputs, inputs); factors: (inputs,).
        second: mean of x xᵀ over the rows, (inputs, inputs).
        grid: of the scaled weight.
    """
    scaled = weight * factors
    affine = affine_range(*weight_range(scaled, grid, "minmax"), grid)
    error = fake_quantize(scaled, *affine, grid) / factors - weight
    return float(((error @ second) * error).sum())


def _plain(group: Group) -> bool:
    """Matrices: the second moments of other kernels would be those of their patches."""
    return all(layer.shape[0] == 1 and layer.shape[3] == 1 for layer in group.readers)
