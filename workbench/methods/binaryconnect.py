"""BinaryConnect and BWN: binary weights (Courbariaux et al. 2015, arXiv:1511.00363; Rastegari et
al. 2016, arXiv:1603.05279).

    ŵ = α sign(w),   ∂L/∂w = ∂L/∂ŵ,   α = E|w| of each scale (BWN), or 1 (BinaryConnect)

Weights train. BinaryConnect has no α, and a batch norm behind each layer makes up for that; where
those are folded nothing does, so `scale` is "mean" unless "none" is asked for. Nor are weights
clipped to [-1, 1] after each step. It serves 1 bit, and other widths become LSQ. Activations, float
in the papers, learn their step; the float model teaches unless `labels` is set.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class BinaryConnectOptions(TrainingOptions):
    """Options of BinaryConnect."""

    scale: Annotated[
        Literal["mean", "none"], Field(description="the weights' mean magnitude, or none: ±1")
    ] = "mean"


@method(
    "binaryconnect",
    title="BinaryConnect: binary weights",
    options=BinaryConnectOptions,
    citation="Courbariaux et al. 2015, arXiv:1511.00363; Rastegari et al. 2016, arXiv:1603.05279",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, scales of activations",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("range/task_loss", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="weights of 1 bit; a long course",
)
class BinaryConnectTraining(NetworkTraining):
    """Trains weights of which only the sign is used."""

    options: BinaryConnectOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights=f"binary:scale={self.options.scale}", activations="lsq")
