"""E2E-QP: steps trained end to end over fixed codes (EfficientQAT, second phase; Chen et al. 2024,
arXiv:2407.11062).

    min over s of T² KL(softmax(z_float / T) ‖ softmax(z_quantized / T)),   ŵ = s (q - z),   q fixed

Only the steps of weights and activations learn, so hardly anything can be over-fitted, and the
codes that the stage before has chosen stay. EfficientQAT is two stages:

    [[stages]]
    method = "block_ap"
    [[stages]]
    method = "e2e_qp"

By itself it tunes the steps of nearest rounding, or of whatever rounding stage came before. The
paper learns steps with labels for one epoch at 1e-5 to 2e-5 with batches of 32; here the float
model teaches unless `labels` is set. Biases and norms stay, as in the paper.
"""

from __future__ import annotations

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class E2eQpOptions(TrainingOptions):
    """Options of E2E-QP."""


@method(
    "e2e_qp",
    title="E2E-QP: scales alone, end to end",
    options=E2eQpOptions,
    citation="Chen et al. 2024, arXiv:2407.11062",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="scales",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("range/task_loss", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="after block_ap or any method that rounds, at 2 and 3 bits",
)
class E2eQpTraining(NetworkTraining):
    """Trains the steps of fixed codes."""

    options: E2eQpOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="codes", activations="lsq", moves="scales")
