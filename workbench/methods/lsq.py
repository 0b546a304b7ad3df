"""LSQ: learned step sizes (Esser et al. 2020, arXiv:1902.08153), with the float model as teacher.

    min over W, s of T² KL(softmax(z_float / T) ‖ softmax(z_quantized / T))

Weights and the scales of weights and activations move together; the scales carry LSQ's own gradient
factor and no weight decay. It starts from whatever ranges or codes earlier stages left, or from
nearest rounding. No labels are needed; with `labels` they teach too, and with `logits` at 0 alone,
as in the paper.
"""

from __future__ import annotations

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class LsqOptions(TrainingOptions):
    """Options of LSQ training."""


@method(
    "lsq",
    title="LSQ: learned step sizes",
    options=LsqOptions,
    citation="Esser et al. 2020, arXiv:1902.08153",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, scales",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("range/task_loss", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="at 4 bits and below, where there are 500 examples and minutes",
)
class LsqTraining(NetworkTraining):
    """Trains weights and step sizes together."""

    options: LsqOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="lsq", activations="lsq")
