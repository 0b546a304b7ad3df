"""Training without oscillation (Nagel et al. 2022, arXiv:2203.11086).

    L + λ(t) ‖ŵ - clip(w, s n, s p)‖²,   λ from 0 to 0.1 by a cosine                  dampening
    f > threshold(t)  →  the code is fixed,   threshold from 0.1 to 0.01              freezing

Late in training weights swing between two neighbouring levels, most of all in depthwise layers.
Dampening pulls them to the level they have, freezing ends the swing, and a running mean evens out
what is left. Weights and LSQ's scales train; frozen codes go on following their scale.

The paper takes dampening or freezing, not both, SGD at 0.0033 to 0.01, and re-estimates batch norms
at the end (method `bn_reestimation`, where they were not folded). The running mean is not its own.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions, Weight


class SteadyOptions(TrainingOptions):
    """Options of Steady."""

    dampening: Annotated[Weight, Field(description="λ of the dampening at the end")] = 0.1
    freeze: Annotated[
        float,
        Field(ge=0, le=1, description="frequency at which oscillating codes are frozen; 0: never"),
    ] = 0.01
    mean: Annotated[
        float, Field(ge=0, lt=1, description="decay of a running mean of the weights; 0: none")
    ] = 0.99


@method(
    "steady",
    title="Steady: dampening and freezing",
    options=SteadyOptions,
    citation="Nagel et al. 2022, arXiv:2203.11086",
    signal="distillation from the float model's logits, or labels; dampening",
    scope="network",
    learnables="weights, scales",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("training/task_loss", "training/prediction", "training/regulariser"),
    strategy="parameters",
    use="4 bits and below in networks with depthwise layers, or where codes flip to the end",
)
class SteadyTraining(NetworkTraining):
    """Trains weights and scales, and stops codes that swing."""

    options: SteadyOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="lsq", activations="lsq")
