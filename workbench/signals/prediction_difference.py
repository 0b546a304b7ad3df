"""Prediction difference (PD-Quant, Liu et al. 2023, arXiv:2212.07048).

    L = KL(softmax(z_float / T) ‖ softmax(z_quantized / T))

z_quantized is the prediction of a network whose other parts are float: it says what the one unit
does to the network's answer. The released code divides the term by λ = 0.1 (a weight of 10) and
takes T = 4. On the whole network this is distillation without the factor T².
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.signals.base import Seen
from workbench.signals.distillation import distillation
from workbench.signals.registry import signal


class PredictionDifferenceOptions(Options):
    """Options of the prediction difference."""

    temperature: Annotated[float, Field(gt=0, le=100, description="T of both softmaxes")] = 4.0


@signal(
    "prediction_difference",
    title="Prediction difference",
    options=PredictionDifferenceOptions,
    citation="Liu et al. 2023, arXiv:2212.07048",
    needs=("prediction",),
)
def prediction_difference(seen: Seen, options: PredictionDifferenceOptions) -> Tensor:
    """Divergence of the network's prediction when this unit alone is quantized."""
    assert seen.prediction is not None
    reference, prediction = seen.prediction
    return distillation(reference, prediction, options.temperature) / options.temperature**2
