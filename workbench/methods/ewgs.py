"""EWGS: element-wise gradient scaling (Lee et al. 2021, arXiv:2104.00903).

    g_x = g_q (1 + δ sign(g_q) (x - x_q))

LSQ's quantizers, whose rounding passes a gradient that knows how far each value is from its level.
Weights and scales train. δ is fixed, as in the authors' variant with 1e-3; the paper also renews it
from the Hessian's trace each epoch. Its quantizers learn both ends of a range and a scale of each
layer's output. Under Adam the difference to the straight-through estimator is small
(arXiv:2405.05171).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TeachingOptions


class EwgsOptions(TeachingOptions):
    """Options of EWGS."""

    delta: Annotated[float, Field(ge=0, le=2, description="δ; 0 is straight-through")] = 1e-3

    def gradient(self) -> str:
        return f"ewgs:delta={self.delta}"


@method(
    "ewgs",
    title="EWGS: scaled gradients",
    options=EwgsOptions,
    citation="Lee et al. 2021, arXiv:2104.00903",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, scales",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("training/task_loss", "training/prediction"),
    strategy="parameters",
    use="3 bits and fewer, with plain gradient descent (optimiser sgd)",
)
class EwgsTraining(NetworkTraining):
    """Trains weights and scales under gradients that lead to the levels."""

    options: EwgsOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="lsq", activations="lsq")
