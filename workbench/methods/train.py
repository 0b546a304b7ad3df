"""Training with everything open: a person's own row (after LSQ, Esser et al. 2020, 1902.08153).

    quantizers × estimator × signals × stability × course

The other training methods are rows with some of these fixed. Here they are options, so that PACT's
clips can be tried under EWGS gradients, APoT's levels under attention distillation, and so on:

    [[stages]]
    method = "train"
    options = { weights = "dorefa", activations = "pact", estimator = "ewgs:delta=0.01" }
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.network_plan import (
    ActivationQuantizer,
    Moves,
    NetworkPlan,
    WeightQuantizer,
)
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class TrainOptions(TrainingOptions):
    """Options of free training."""

    weights: Annotated[WeightQuantizer, Field(description="quantizer of the weights")] = "lsq"
    activations: Annotated[
        ActivationQuantizer, Field(description="quantizer of the activations")
    ] = "lsq"
    moves: Annotated[
        Moves, Field(description="what is trained; branches are low-rank corrections")
    ] = "everything"


@method(
    "train",
    title="Training, everything open",
    options=TrainOptions,
    citation="Esser et al. 2020, arXiv:1902.08153",
    signal="as chosen",
    scope="network",
    learnables="as chosen",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("training/task_loss", "training/prediction", "training/features"),
    strategy="parameters",
    use="to compose a plan of one's own",
)
class Train(NetworkTraining):
    """Any quantizers under any signals, with any estimator."""

    options: TrainOptions

    def plan(self) -> NetworkPlan:
        chosen = self.options
        return chosen.plan(
            weights=chosen.weights, activations=chosen.activations, moves=chosen.moves
        )
