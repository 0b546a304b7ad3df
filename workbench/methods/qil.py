"""QIL: learned quantization intervals (Jung et al. 2019, arXiv:1808.05779).

    v = 0 for |w| < c - d,   sign(w) for |w| > c + d,   else ((|w| - c) / 2d + 1/2)^γ sign(w)
    ŵ = s round(v qmax)

Weights train together with the centre c, the half-width d and the exponent γ of their interval:
what lies below is pruned, what lies above is clipped. The paper does the same to activations
without γ; a file has zero-points for that, so activations are LSQ+'s here.

The paper goes down by steps, 5, 4, 3 and 2 bits, each from the one before; `bits` = "5,4,3" does it
within one course. It learns from labels; the float model teaches here unless `labels` is set.
"""

from __future__ import annotations

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class QilOptions(TrainingOptions):
    """Options of QIL."""


@method(
    "qil",
    title="QIL: learned intervals",
    options=QilOptions,
    citation="Jung et al. 2019, arXiv:1808.05779",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, intervals, scales and offsets of activations",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("range/task_loss", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="2 to 4 bits where small weights may be pruned",
)
class QilTraining(NetworkTraining):
    """Trains weights with the interval that they are rounded in."""

    options: QilOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="qil", activations="lsq_plus")
