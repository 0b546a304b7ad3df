"""KURE: weights that do not mind the step (Shkolnik et al. 2020, arXiv:2002.07686).

    L + λ Σ over layers (K(w) - 1.8)² / layers,   λ = 1

Uniform weights, of kurtosis 1.8, lose least when the step or the bits are not the best ones.
Weights and LSQ's scales train.

The paper finetunes the float network in this way for 50 to 90 epochs at 1e-3 with labels, and
quantizes afterwards; here the grid is in the loop from the start, and the float model teaches
unless `labels` is set. For a network that serves several widths put `bits` on the way.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions, Weight


class KureOptions(TrainingOptions):
    """Options of KURE."""

    kurtosis: Annotated[Weight, Field(description="λ, weight of uniform weights")] = 1.0


@method(
    "kure",
    title="KURE: weights made uniform",
    options=KureOptions,
    citation="Shkolnik et al. 2020, arXiv:2002.07686",
    signal="distillation from the float model's logits, or labels; kurtosis",
    scope="network",
    learnables="weights, scales",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=(
        "range/regulariser",
        "training/task_loss",
        "training/prediction",
        "training/regulariser",
    ),
    strategy="supervision",
    use="4 bits and below, where steps or bits may change later",
)
class KureTraining(NetworkTraining):
    """Trains weights towards a uniform distribution while they are quantized."""

    options: KureOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="lsq", activations="lsq")
