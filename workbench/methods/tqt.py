"""TQT: trained quantization thresholds (Jain et al. 2020, arXiv:1903.08066).

    s = 2^⌈log2 t⌉ / 2^(b-1)
    ∂q/∂log2 t = s ln 2 (round(x / s) - x / s) inside, s ln 2 · n or p outside

Weights and the logarithms of thresholds train; every step is a power of two, so that hardware can
shift. The rate of the thresholds is meant for the logarithm and not as a share: the paper has Adam
with 1e-2, and freezes thresholds one by one as soon as they oscillate. Here the cosine that all
rates fall by takes that place, and thresholds may be plain with `power_of_two` off. The paper has
labels; the float model teaches here unless `labels` is set.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class TqtOptions(TrainingOptions):
    """Options of TQT."""

    scale_learning_rate: Annotated[
        float, Field(ge=0, le=10, description="of the logarithms of thresholds")
    ] = 1e-2
    power_of_two: Annotated[bool, Field(description="steps are powers of two")] = True


@method(
    "tqt",
    title="TQT: trained thresholds",
    options=TqtOptions,
    citation="Jain et al. 2020, arXiv:1903.08066",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, thresholds",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("range/task_loss", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="8 and 4 bits on hardware that shifts instead of multiplying",
)
class TqtTraining(NetworkTraining):
    """Trains weights and the logarithms of their thresholds."""

    options: TqtOptions

    def plan(self) -> NetworkPlan:
        spelled = f"tqt:power_of_two={str(self.options.power_of_two).lower()}"
        return self.options.plan(weights=spelled, activations=spelled)
