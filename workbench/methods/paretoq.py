"""ParetoQ: one recipe from 1 to 4 bits (Liu et al. 2025, arXiv:2502.02631).

    1 bit α sign(w);   2 bits and ternary SEQ, levels around zero or with it;   3 and 4 bits LSQ

Weights and their reach α train; activations learn their step. `levels` has "balanced" (±¼, ±¾) and
"ternary" (0, ±⅔) for 2 bits.

The paper finetunes language models on their own task with weights alone quantized; here the float
model teaches unless `labels` is set. Above 4 bits it is LSQ.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class ParetoQOptions(TrainingOptions):
    """Options of ParetoQ."""

    levels: Annotated[
        Literal["balanced", "ternary"], Field(description="of 2 bits: four, or three with zero")
    ] = "balanced"


@method(
    "paretoq",
    title="ParetoQ: one method for 1 to 4 bits",
    options=ParetoQOptions,
    citation="Liu et al. 2025, arXiv:2502.02631",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, scales",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("range/task_loss", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="weights of 1, 2 and 3 bits",
)
class ParetoQTraining(NetworkTraining):
    """Trains weights over levels that fit so few bits."""

    options: ParetoQOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights=f"seq:levels={self.options.levels}", activations="lsq")
