"""QKD: quantization-aware distillation in three phases (Kim et al. 2019, arXiv:1911.12491).

    self-studying   CE(y, z)                                        labels alone
    co-studying     CE(y, z) + c T² KL(teacher ‖ z)                 the teacher comes in
    tutoring        CE(y, z) + T² KL(teacher ‖ z)                   a fixed teacher

A network of few bits cannot follow a teacher at first, so it finds a good place by itself before.
Weights and LSQ's scales train; `self_study` and `co_study` say which share of the steps each takes.

In the paper the teacher, a larger network, trains along in the second phase, to become one that the
student can follow. Here the teacher is the float network and is never changed: co-studying hears it
with c = 1/2 of its weight instead, so what is left of the paper is the order of the phases.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.network_plan import NetworkPlan, use
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions, Weight

CO_STUDY = 0.5  # c


class QkdOptions(TrainingOptions):
    """Options of QKD."""

    labels: Annotated[Weight, Field(description="weight of the loss on labels")] = 1.0
    self_study: Annotated[
        float, Field(ge=0, le=0.5, description="share of the steps with labels alone")
    ] = 0.3
    co_study: Annotated[
        float, Field(ge=0, le=0.4, description="share of the steps with half the distillation")
    ] = 0.3


@method(
    "qkd",
    title="QKD: distillation in phases",
    options=QkdOptions,
    citation="Kim et al. 2019, arXiv:1911.12491",
    signal="labels, then the float model's logits as well",
    scope="network",
    learnables="weights, scales",
    data="labelled, 500 examples and more",
    cost="minutes",
    cells=("training/task_loss", "training/prediction"),
    strategy="supervision",
    use="2 and 3 bits with labels, where distillation from the start hurts",
)
class QkdTraining(NetworkTraining):
    """Trains by labels first, and under the float model's answers later."""

    options: QkdOptions

    def plan(self) -> NetworkPlan:
        options = self.options
        alone, both = options.self_study, options.self_study + options.co_study
        signals = [term for term in options.signals() if term.name != "logits"]
        for share, begin, end in ((CO_STUDY, alone, both), (1.0, both, 1.0)):
            if begin < end and options.logits:
                weight = share * options.logits
                term = use("logits", weight, begin=begin, end=end, temperature=options.temperature)
                signals.append(term)
        return options.plan(weights="lsq", activations="lsq", signals=tuple(signals))
