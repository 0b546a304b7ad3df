"""LLT: learnable lookup tables (Wang et al. 2022, CVPR, p. 12414).

    x̂ = s table[bin(x / s)],   each step of the table at one of K = 9 places, by a softmax

Weights, their scale and the places of the steps train; activations likewise. What runs is a table,
so nothing is approximated in the file. Logits of the places take `scale_learning_rate` as it is,
and need ten times the rate of a scale to move within a short course.

The paper trains with labels; here the float model teaches unless `labels` is set, and the softmax
has the temperature 1.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class LltOptions(TrainingOptions):
    """Options of LLT."""

    scale_learning_rate: Annotated[
        float, Field(ge=0, le=10, description="of scales, as a share of each, and of places")
    ] = 5e-3


@method(
    "llt",
    title="LLT: learned lookup tables",
    options=LltOptions,
    citation="Wang et al. 2022, doi:10.1109/CVPR52688.2022.01210",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, scales, places of the steps",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("range/task_loss", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="2 to 5 bits where steps of unequal width pay",
)
class LltTraining(NetworkTraining):
    """Trains weights and where each step of their table lies."""

    options: LltOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="llt_weight", activations="llt")
