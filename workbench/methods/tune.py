"""Tuning of steps and biases after the codes are decided: EfficientQAT's second phase.

    min over s, b of KL(softmax(z_float / T) ‖ softmax(z_quantized / T))

The codes stay as an earlier stage left them (or the nearest ones); only the step of each channel or
group and the biases move, under the whole network's output. They are so few that a hundred examples
do not over-fit them, and what no layer by itself can see is mended: errors that layers add up.
Chen et al. 2024 (arXiv:2407.11062) train the steps alone, under the task's loss; here the float
network is the teacher, no labels are needed, and biases move too.

A method that fits each layer in closed form fits a classifier with more inputs than examples
exactly: on those examples the prediction is then right whatever was lost before, and there is
nothing to learn. Give more examples, or let pictures be varied (`augment` in the recipe).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from workbench.methods.plan import Learnable, Plan, Scope, SignalUse
from workbench.methods.reconstruction import Reconstruction, ReconstructionOptions
from workbench.methods.registry import method


class TuneOptions(ReconstructionOptions):
    """Options of tuning."""

    iterations: Annotated[int, Field(ge=1, le=1_000_000, description="steps of descent")] = 200
    batch_size: Annotated[int, Field(ge=1, le=4096, description="examples per step")] = 16
    scale_learning_rate: Annotated[
        float, Field(gt=0, le=1, description="of the steps, as a share of each")
    ] = 2e-3
    bias_learning_rate: Annotated[float, Field(gt=0, le=1, description="of the biases")] = 2e-3
    signal: Annotated[
        Literal["prediction_difference", "output_error"],
        Field(description="divergence of the prediction, or squared error of the output"),
    ] = "prediction_difference"
    temperature: Annotated[float, Field(gt=0, le=100, description="T of the prediction")] = 2.0
    scope: Annotated[Scope, Field(description="what is tuned in one piece")] = "network"


@method(
    "tune",
    title="Steps and biases, end to end",
    options=TuneOptions,
    citation="Chen et al. 2024, arXiv:2407.11062",
    signal="distillation from the float model's prediction",
    scope="network",
    learnables="scales, biases",
    data="unlabelled, 100 examples and more",
    cost="minutes",
    cells=("range/prediction", "reconstruction/prediction"),
    strategy="supervision",
    use="after another method, such as 'gram', for the last points of accuracy",
)
class Tune(Reconstruction):
    """Moves what is left to move once codes are chosen."""

    options: TuneOptions

    def plan(self) -> Plan:
        options = self.options
        steps = options.scale_learning_rate
        temperature = {"temperature": options.temperature}
        chosen = temperature if options.signal == "prediction_difference" else {}
        return Plan(
            quantizer="steps",
            learnables=(
                Learnable(name="weight_scale", learning_rate=steps, decay="cosine"),
                Learnable(name="activation_scale", learning_rate=steps, decay="cosine"),
                Learnable(name="bias", learning_rate=options.bias_learning_rate, decay="cosine"),
            ),
            signals=(SignalUse(name=options.signal, options=chosen),),
            scope=options.scope,
            inputs="quantized",
            schedule=options.schedule(keep_best=True),
            calibrator=options.calibrator,
            weight_calibrator=options.weight_calibrator,
        )
