"""SQAKD: self-supervised distillation (Zhao and Zhao, AISTATS 2024, arXiv:2403.11106).

    min over W, s of T² KL(softmax(z_float / T) ‖ softmax(z_quantized / T)),   no labels

The float network teaches its own quantized copy, by its logits alone. Weights and scales train. The
paper joins this to several quantizers and gradients: here LSQ's, and `estimator` has the gradient.
With plain rounding this is what `lsq` does by default; the row holds to it, and refuses a weight of
labels or of inner tensors.
"""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class SqakdOptions(TrainingOptions):
    """Options of SQAKD."""

    @model_validator(mode="after")
    def _alone(self) -> Self:
        for name in ("labels", "features", "attention"):
            if getattr(self, name):
                raise ValueError(f"sqakd learns from logits alone, not from '{name}'; take kd")
        return self


@method(
    "sqakd",
    title="SQAKD: distilled from itself",
    options=SqakdOptions,
    citation="Zhao and Zhao 2024, arXiv:2403.11106",
    signal="distillation from the float model's logits",
    scope="network",
    learnables="weights, scales",
    data="unlabelled, 500 examples and more",
    cost="minutes",
    cells=("training/prediction",),
    strategy="supervision",
    use="4 bits and below without labels",
)
class SqakdTraining(NetworkTraining):
    """Trains weights and scales towards the float model's own answers."""

    options: SqakdOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="lsq", activations="lsq")
