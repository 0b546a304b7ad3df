"""DSQ: differentiable soft quantization (Gong et al. 2019, arXiv:1908.05033).

    ∂x̂/∂x = ∂φ/∂x,   φ(x) = tanh(k (x - m)) / tanh(k / 2) in each step,   k = ln(2/α - 1)

LSQ's quantizers: hard rounding forwards, the derivative of a soft staircase backwards. Weights and
scales train. α says how far the staircase is from a hard one; the paper learns it together with the
range, from 0.2 and below 0.5, and here it is fixed. Labels are used where `labels` is set.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TeachingOptions


class DsqOptions(TeachingOptions):
    """Options of DSQ."""

    alpha: Annotated[
        float, Field(ge=1e-4, le=0.5, description="α; the smaller, the harder the steps")
    ] = 0.2

    def gradient(self) -> str:
        return f"dsq:alpha={self.alpha}"


@method(
    "dsq",
    title="DSQ: soft gradients",
    options=DsqOptions,
    citation="Gong et al. 2019, arXiv:1908.05033",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, scales",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("training/task_loss", "training/prediction"),
    strategy="parameters",
    use="4 bits and fewer, with plain gradient descent (optimiser sgd)",
)
class DsqTraining(NetworkTraining):
    """Trains weights and scales under the gradient of a soft staircase."""

    options: DsqOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="lsq", activations="lsq")
