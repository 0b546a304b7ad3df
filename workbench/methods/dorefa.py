"""DoReFa: weights through tanh (Zhou et al. 2016, arXiv:1606.06160).

    ŵ = E (2 quant_b(tanh(w) / (2 max|tanh w|) + 1/2) - 1)
    quant_b(x) = round((2^b - 1) x) / (2^b - 1)

Weights train; E is fitted to each channel at the start and then fixed, where the paper has 1 and a
batch norm behind each layer. The paper's activations are clipped to [0, 1], which a folded network
does not keep to: here their steps are learned (LSQ). Gradients are not quantized. The paper trains
from scratch with labels; here training starts from the float weights, under the float model's
logits unless `labels` is set.
"""

from __future__ import annotations

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class DoReFaOptions(TrainingOptions):
    """Options of DoReFa."""


@method(
    "dorefa",
    title="DoReFa: weights through tanh",
    options=DoReFaOptions,
    citation="Zhou et al. 2016, arXiv:1606.06160",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, scales of activations",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("range/task_loss", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="a baseline at 1 to 4 bits; levels without a zero",
)
class DoReFaTraining(NetworkTraining):
    """Trains weights behind a tanh."""

    options: DoReFaOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="dorefa", activations="lsq")
