"""ReActNet: binary networks with shifts (Liu et al. 2020, arXiv:2003.03488).

    ŵ = E|w| sign(w),   x̂ = s sign(x - β_c)
    L = KL(softmax(z_float) ‖ softmax(z_quantized))

Weights, the scale s and the shift β_c of each channel of the activations train; the float model
alone teaches, at T = 1, as in the paper. It serves 1 bit, and other widths become LSQ.

The paper trains for 256 epochs with Adam at 5e-4, activations first and weights afterwards, and has
an RPReLU of its own behind each layer, which would change the network and is left out. Here both
are binary from the start; a first stage with `moves` = "scales" comes near to its two steps.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class ReActNetOptions(TrainingOptions):
    """Options of ReActNet."""

    temperature: Annotated[float, Field(gt=0, le=100, description="T of the distillation")] = 1.0


@method(
    "reactnet",
    title="ReActNet: binary with shifts",
    options=ReActNetOptions,
    citation="Liu et al. 2020, arXiv:2003.03488",
    signal="distillation from the float model's logits",
    scope="network",
    learnables="weights, scales and shifts of activations",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("training/task_loss", "training/prediction"),
    strategy="supervision",
    use="1 bit on both sides; a long course",
)
class ReActNetTraining(NetworkTraining):
    """Trains binary weights and binary activations with a shift."""

    options: ReActNetOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="react_sign", activations="react")
