"""TWN: ternary weights (Li et al. 2016, arXiv:1605.04711).

    ŵ = α {-1, 0, 1},   Δ = 0.7 E|w|,   α = E[|w| : |w| > Δ]

Weights train; threshold and scale follow them. It serves 2 bits, and other widths become LSQ. The
paper leaves activations in float and trains from scratch with labels; here those that have a
quantizer learn their step, training starts from the float weights, and the float model teaches
unless `labels` is set.
"""

from __future__ import annotations

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class TwnOptions(TrainingOptions):
    """Options of TWN."""


@method(
    "twn",
    title="TWN: ternary weights",
    options=TwnOptions,
    citation="Li et al. 2016, arXiv:1605.04711",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, scales of activations",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("range/tensor_error", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="weights of 2 bits, of which three levels are used",
)
class TwnTraining(NetworkTraining):
    """Trains weights that are rounded to three levels."""

    options: TwnOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="twn", activations="lsq")
