"""N2UQ: nonuniform to uniform (Liu et al. 2022, arXiv:2111.14826).

    x̂ = s Σ_i [x >= T_i],   T learned, output steps equal
    L = KL(softmax(z_float) ‖ softmax(z_quantized))

Weights, their clips, and the thresholds of activations train. Weights are first divided by
(2^b - 1) / 2^(b-1) E|w| of their channel, so that all codes are used alike.

As in the paper the float model alone teaches, at T = 1, and weights do not decay; it trains for 128
epochs with Adam at 1.25e-3 and batches of 256, and puts learnable biases around each activation,
which would change the network and are left out.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class N2uqOptions(TrainingOptions):
    """Options of N2UQ."""

    temperature: Annotated[float, Field(gt=0, le=100, description="T of the distillation")] = 1.0


@method(
    "n2uq",
    title="N2UQ: learned thresholds",
    options=N2uqOptions,
    citation="Liu et al. 2022, arXiv:2111.14826",
    signal="distillation from the float model's logits",
    scope="network",
    learnables="weights, clips, thresholds",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("range/task_loss", "training/task_loss", "training/prediction"),
    strategy="supervision",
    use="2 to 4 bits where activations have uneven distributions",
)
class N2uqTraining(NetworkTraining):
    """Trains weights and the thresholds of activations."""

    options: N2uqOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="n2uq_weight", activations="n2uq")
