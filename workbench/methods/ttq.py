"""TTQ: trained ternary quantization (Zhu et al. 2017, arXiv:1612.01064).

    ŵ = W_p above Δ, -W_n below -Δ, else 0,   Δ = t max|w|,   t = 0.05

Weights and the two levels of each scale train; t is fixed. It serves 2 bits, and other widths
become LSQ. In the paper all layers but the first and the last are ternary, activations stay float,
and labels teach; here activations learn their step, and the float model teaches unless `labels` is
set.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class TtqOptions(TrainingOptions):
    """Options of TTQ."""

    threshold: Annotated[
        float, Field(ge=0, lt=1, description="t, a share of the largest weight, up to which is 0")
    ] = 0.05


@method(
    "ttq",
    title="TTQ: trained ternary weights",
    options=TtqOptions,
    citation="Zhu et al. 2017, arXiv:1612.01064",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, levels, scales of activations",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("range/task_loss", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="weights of 2 bits, with levels that need not be alike on both sides",
)
class TtqTraining(NetworkTraining):
    """Trains weights and the two levels beside zero."""

    options: TtqOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(
            weights=f"ttq:threshold={self.options.threshold}", activations="lsq"
        )
