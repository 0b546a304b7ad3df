"""Losses, which a file exported for training ends in."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from workbench.graph.ops.registry import op, pick


@op("NegativeLogLikelihoodLoss", since=12)
def negative_log_likelihood_loss(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """NegativeLogLikelihoodLoss-22: of log-probabilities (N, C, *d) at classes (N, *d)."""
    ignored = -100 if ignore_index is None else ignore_index
    return F.nll_loss(x, target.long(), weight, ignore_index=ignored, reduction=reduction)


@op("SoftmaxCrossEntropyLoss", since=12)
def softmax_cross_entropy_loss(
    scores: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
    n_outputs: int = 1,
) -> Any:
    """SoftmaxCrossEntropyLoss-13: of scores (N, C, *d) at classes (N, *d); loss, log-softmax."""
    logs = F.log_softmax(scores, 1)
    loss = negative_log_likelihood_loss(
        logs, labels, weights, ignore_index=ignore_index, reduction=reduction
    )
    return pick((loss, logs), n_outputs)
