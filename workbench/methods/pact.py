"""PACT: learned clips of activations (Choi et al. 2018, arXiv:1805.06085).

    x̂ = round(clip(x, 0, α) (2^k - 1) / α) α / (2^k - 1)
    min over W, α of L + λ Σ α²

Weights are DoReFa's, whose scale is fixed at the start. A clip hears only of what it clips, which
for the most part asks for more room, so λ holds it back: 2 λ α is added to its gradient.

The paper has labels, α from 6 to 10 at first and λ as large as the weight decay. Here α begins
where calibration put it, λ is 2e-4, and the float model teaches unless `labels` is set. On grids
with a zero-point the lower end is learned in the same way.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class PactOptions(TrainingOptions):
    """Options of PACT."""

    decay: Annotated[float, Field(ge=0, le=1, description="λ of the penalty on clips")] = 2e-4


@method(
    "pact",
    title="PACT: learned clips",
    options=PactOptions,
    citation="Choi et al. 2018, arXiv:1805.06085",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="weights, clips",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("range/task_loss", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="4 bits and more behind ReLU; a baseline for LSQ",
)
class PactTraining(NetworkTraining):
    """Trains weights and the clips of activations together."""

    options: PactOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="dorefa", activations=f"pact:decay={self.options.decay}")
