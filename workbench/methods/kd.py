"""Distillation with everything: labels, logits and inner tensors (Hinton et al. 2015,
arXiv:1503.02531; Mishra and Marr 2018, arXiv:1711.05852; Romero et al. 2015, arXiv:1412.6550).

    L = CE(y, z) + T² KL(softmax(z_float / T) ‖ softmax(z / T)) + features + attention

Weights and LSQ's scales train; the teacher is the float network and stays as it is (Apprentice's
scheme C, with the student started from it). Each term has its weight. `features` compares inner
tensors value by value, `attention` where they look, for tensors with positions.

Apprentice's teacher is a larger network, and its rate is low; here the network is its own teacher.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions, Weight


class KdOptions(TrainingOptions):
    """Options of KD."""

    labels: Annotated[Weight, Field(description="weight of the loss on labels")] = 1.0
    features: Annotated[Weight, Field(description="weight of distillation of inner tensors")] = 0.5


@method(
    "kd",
    title="KD: labels, logits and features",
    options=KdOptions,
    citation="Hinton et al. 2015, arXiv:1503.02531; Mishra and Marr 2018, arXiv:1711.05852",
    signal="labels, the float model's logits and inner tensors",
    scope="network",
    learnables="weights, scales",
    data="labelled, 500 examples and more",
    cost="minutes",
    cells=("training/task_loss", "training/prediction", "training/features"),
    strategy="supervision",
    use="3 bits and below with labels, where logits alone say too little",
)
class KdTraining(NetworkTraining):
    """Trains weights and scales under all that the float model can say."""

    options: KdOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="lsq", activations="lsq")
