"""APoT: sums of powers of two (Li et al. 2020, openreview BkgXT24tDS).

    levels α Σ_i p_i over the largest sum,   p_i of {0, 2^-i, 2^-(i+n), ...}
    ∂ŵ/∂α = sign(w) beyond α, else Π(w/α) - w/α

Weights and the clips α of weights and activations train; the levels lie closer together near zero.
Of 2 bits they are the uniform ones.

The paper starts each width from the next larger one, 5, 4, 3, 2 (`bits` = "5,4"), with labels, SGD,
100 epochs, α of 3 for weights and 6 to 8 for activations at first. Here α begins where calibration
put it, and the float model teaches unless `labels` is set.
"""

from __future__ import annotations

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class ApotOptions(TrainingOptions):
    """Options of APoT."""


@method(
    "apot",
    title="APoT: additive powers of two",
    options=ApotOptions,
    citation="Li et al. 2020, openreview BkgXT24tDS",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, clips",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("range/task_loss", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="3 to 5 bits on hardware that adds shifted values, or where weights are bell-shaped",
)
class ApotTraining(NetworkTraining):
    """Trains weights and clips over levels that are sums of powers of two."""

    options: ApotOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="apot_weight", activations="apot")
