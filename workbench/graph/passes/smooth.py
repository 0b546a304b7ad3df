"""SmoothQuant: what is hard in activations becomes easy in weights (Xiao et al. 2023).

arXiv:2211.10438. A few channels of a transformer's activations are far larger than the others, and
one scale for the tensor is spent on them. Each channel is divided by

    s_j = max |X_j|^α / max |W_j|^(1 - α)

and the weights that read it are multiplied, which leaves the product as it was. The peaks are those
over calibration data, the largest weights those over all layers that read X; α shares the range out
between the two: 1 gives it all to the weights.

The paper takes α = 0.5 (0.85 to 0.9 for LLaMA), 512 sentences, and scales what follows a
normalization; here also the values of attention and what a gate's linear factor makes.
"""

from __future__ import annotations

from typing import Annotated

import onnx_ir as ir
import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.passes.base import FoldRecord
from workbench.graph.passes.observe import sources
from workbench.graph.passes.registry import Batches, Measured, Transform, transformation
from workbench.graph.passes.scaling import groups, scale

#: a channel is scaled by no more than this and no less than its inverse
MOST = 1e4


class SmoothOptions(Options):
    """Options of SmoothQuant."""

    alpha: Annotated[float, Field(ge=0, le=1, description="share of the range for weights")] = 0.5
    examples: Annotated[
        int, Field(ge=1, le=100_000, description="calibration examples to look at")
    ] = 128
    insert: Annotated[
        bool, Field(description="multiply where nothing before a layer takes the factor")
    ] = False


@transformation(
    "smooth",
    title="SmoothQuant: activation peaks into weights",
    citation="Xiao et al. 2023, arXiv:2211.10438",
    order=60,
    exact=True,
    options=SmoothOptions,
    signal="tensor range",
    data="unlabelled, 128 examples",
    cost="seconds",
    cells=("transform/tensor_error",),
    strategy="reconstruction",
    use="transformers with quantized activations and one scale for each tensor",
)
class Smooth(Transform):
    """Divides each channel by its peak and multiplies the weights that read it."""

    options: SmoothOptions

    def measure(self, model: ir.Model, batches: Batches) -> dict[str, Tensor]:
        """s of each channel, by the tensor that is divided."""
        options = self.options
        found = [x for x in groups(model.graph) if x.folds or (options.insert and x.channels > 1)]
        peaks = {group.name: torch.zeros(group.channels) for group in found}
        for group, rows in sources(model, found, batches, options.examples):
            peaks[group.name] = torch.maximum(peaks[group.name], rows.abs().amax(0))
        return {
            group.name: smoothing(peaks[group.name], group.input_ranges(), options.alpha)
            for group in found
        }

    def apply(self, model: ir.Model, measured: Measured) -> FoldRecord:
        return scale(model, measured, "channels smoothed")


def smoothing(peaks: Tensor, weights: Tensor, alpha: float = 0.5) -> Tensor:
    """s of each channel; 1 where nothing passes or nothing is read.

    Args:
        peaks: max |X| of each channel; weights: max |W|.
        alpha: share of the range that goes to the weights.

    Example:
        >>> smoothing(torch.tensor([16.0, 1.0]), torch.tensor([0.25, 1.0])).tolist()
        [8.0, 1.0]
    """
    peaks, weights = peaks.double(), weights.double()
    alive = (peaks > 0) & (weights > 0)
    ratio = peaks**alpha / weights ** (1 - alpha)
    return torch.where(alive, ratio, 1.0).clamp(1 / MOST, MOST).float()
