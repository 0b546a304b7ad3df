"""Output error of a layer or block: distance to the float output.

    L = mean over examples and positions of Σ over channels |y - ŷ|^p

The sum over channels is the reduction of the released AdaRound and BRECQ code; their regulariser
weight λ belongs to it (arXiv:2004.10568, arXiv:2102.05426). BRECQ learns step sizes with p = 2.4.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.signals.base import Seen
from workbench.signals.registry import signal


class OutputErrorOptions(Options):
    """Options of the output error."""

    norm: Annotated[float, Field(ge=1, le=8, description="p; 2 is the squared error")] = 2.0


def output_error(
    reference: Tensor, output: Tensor, channel_axis: int = 1, norm: float = 2.0
) -> Tensor:
    """Scalar loss; both tensors (N, ..., C, ...) with channels on `channel_axis`."""
    gap = reference - output
    powers = gap.square() if norm == 2.0 else gap.abs().pow(norm)
    return powers.sum(dim=channel_axis).mean()


@signal(
    "output_error",
    title="Output error",
    options=OutputErrorOptions,
    citation="Nagel et al. 2020, arXiv:2004.10568",
)
def of_unit(seen: Seen, options: OutputErrorOptions) -> Tensor:
    """Distance of a unit's outputs to their float values, summed over channels."""
    terms = [output_error(o.reference, o.value, o.channel_axis, options.norm) for o in seen.outputs]
    return torch.stack(terms).sum()
