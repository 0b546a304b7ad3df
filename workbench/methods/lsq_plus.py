"""LSQ+: learned steps and offsets (Bhalgat et al. 2020, arXiv:2004.09576).

    min over W, s, β of T² KL(softmax(z_float / T) ‖ softmax(z_quantized / T))
    x̂ = s round(clip((x - β) / s, n, p)) + β

Activations that reach below zero, as those of Swish and GELU do, learn where their range lies as
well as how wide it is. Weights are symmetric and learn their step alone. Nothing is frozen.

The paper trains with labels for 90 epochs by SGD; with `labels` at 1 and `logits` at 0 the loss is
its own. β is rounded to the integer zero-point that a file can hold.
"""

from __future__ import annotations

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class LsqPlusOptions(TrainingOptions):
    """Options of LSQ+."""


@method(
    "lsq_plus",
    title="LSQ+: learned steps and offsets",
    options=LsqPlusOptions,
    citation="Bhalgat et al. 2020, arXiv:2004.09576",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, scales, offsets",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("range/task_loss", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="at 4 bits and below behind GELU, Swish and other activations with negative values",
)
class LsqPlusTraining(NetworkTraining):
    """Trains weights, step sizes and offsets together."""

    options: LsqPlusOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="lsq_plus", activations="lsq_plus")
