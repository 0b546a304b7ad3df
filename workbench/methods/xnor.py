"""XNOR-Net: binary weights and activations (Rastegari et al. 2016, arXiv:1603.05279).

    ŵ = α sign(w),   α = E|w| of each channel,   ∂ŵ/∂w = 1 where |w| < α

Weights train and α follows them. Activations of 1 bit become ±s sign(x - β), with a learned s and a
shift for each channel; the paper has the sign of normalised inputs times a map of their mean
magnitudes, which is worked out anew for each picture. Activations of more bits learn a step, and
weights of more bits become LSQ. The paper learns from labels; the float model teaches here unless
`labels` is set.
"""

from __future__ import annotations

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class XnorOptions(TrainingOptions):
    """Options of XNOR-Net."""


@method(
    "xnor",
    title="XNOR-Net: binary weights and inputs",
    options=XnorOptions,
    citation="Rastegari et al. 2016, arXiv:1603.05279",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, scales and shifts of activations",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("training/tensor_error", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="1 bit on both sides, where the hardware counts bits; a long course",
)
class XnorTraining(NetworkTraining):
    """Trains weights and activations of one bit."""

    options: XnorOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="binary:gradient=clipped", activations="react")
