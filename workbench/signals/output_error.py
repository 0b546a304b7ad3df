"""Output error of a layer or block: mean squared distance to the float output.

    L = mean over examples and positions of Σ over channels (y - ŷ)²

The sum over channels is the reduction of the released AdaRound and BRECQ code; their regulariser
weight λ belongs to it (arXiv:2004.10568, arXiv:2102.05426).
"""

from __future__ import annotations

from torch import Tensor


def output_error(reference: Tensor, output: Tensor, channel_axis: int = 1) -> Tensor:
    """Scalar loss; both tensors (N, ..., C, ...) with channels on `channel_axis`."""
    return (reference - output).square().sum(dim=channel_axis).mean()
