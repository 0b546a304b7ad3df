"""BitNet b1.58 (Ma et al. 2024, arXiv:2402.17764).

    γ = E|W|,   ŵ = γ clip(round(w / γ), -1, 1)

Weights train, the scale follows them, and the gradient passes the rounding everywhere. It serves 2
bits, and other widths become LSQ. γ is that of each scale of the grid; in the paper one for a
matrix (weight granularity "tensor").

The paper trains language models from scratch, with a norm before each matrix and activations of 8
bits whose scale is found anew for each token. Here training starts from the float weights,
activations have one learned step, and the float model teaches unless `labels` is set.
"""

from __future__ import annotations

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class BitNetOptions(TrainingOptions):
    """Options of BitNet b1.58."""


@method(
    "bitnet",
    title="BitNet b1.58: ternary by absmean",
    options=BitNetOptions,
    citation="Ma et al. 2024, arXiv:2402.17764",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, scales of activations",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("range/task_loss", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="ternary matrices with 8-bit activations; needs a long course",
)
class BitNetTraining(NetworkTraining):
    """Trains weights that are rounded in units of their mean magnitude."""

    options: BitNetOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="absmean", activations="lsq")
