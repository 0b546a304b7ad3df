"""Cross-entropy with the labels: the loss of the task.

    L = -mean over examples of Σ_c p_c log softmax(z)_c,   p = (1 - ε) y + ε / classes

y is one class, or shares of several where examples were mixed (mixup, Zhang et al. 2018,
arXiv:1710.09412); ε smooths it (Szegedy et al. 2016, arXiv:1512.00567). Positions with the label
-100 have none and do not count.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from workbench.foundation.errors import DataError
from workbench.foundation.options import Options
from workbench.signals.base import Seen
from workbench.signals.registry import signal

NONE = -100  # the label of a position that has none


class LabelsOptions(Options):
    """Options of the cross-entropy."""

    smoothing: Annotated[
        float, Field(ge=0, lt=1, description="share of each label that is spread over all classes")
    ] = 0.0


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Scalar loss in nats.

    Args:
        logits: (..., classes).
        labels: int64 classes of the leading shape, -100 where there is none, or shares of the
            classes in the shape of the logits.
        smoothing: ε.

    Raises:
        DataError: the labels have neither shape.
    """
    soft = labels.is_floating_point()
    if labels.shape != (logits.shape if soft else logits.shape[:-1]):
        raise DataError(
            f"labels of shape {tuple(labels.shape)} do not fit logits of shape"
            f" {tuple(logits.shape)}; give one class for each row of logits, or shares of all"
        )
    rows = logits.reshape(-1, logits.shape[-1])
    if soft:
        return functional.cross_entropy(rows, labels.reshape(rows.shape), label_smoothing=smoothing)
    wanted = labels.reshape(-1)
    total = functional.cross_entropy(
        rows, wanted, ignore_index=NONE, reduction="sum", label_smoothing=smoothing
    )
    return total / (wanted != NONE).sum().clamp(min=1)


@signal(
    "labels",
    title="Labels",
    options=LabelsOptions,
    citation="Szegedy et al. 2016, arXiv:1512.00567",
    needs=("labels",),
)
def of_labels(seen: Seen, options: LabelsOptions) -> Tensor:
    """Cross-entropy of the quantized network's answer with the labels."""
    assert seen.logits is not None
    assert seen.labels is not None
    return cross_entropy(seen.logits, seen.labels, options.smoothing)
