"""PD-Quant (Liu et al. 2023, arXiv:2212.07048): QDrop that also looks at the prediction.

    L = ‖z - ẑ‖² + (1 / λ_r) KL(softmax(p / T) ‖ softmax(p̂ / T)) + rounding regulariser

p is the float network's prediction and p̂ what it becomes when this block alone is quantized, the
rest being float. The released configuration divides by λ_r = 0.1, a weight of 10, at T = 4. Each
step runs the rest of the network, so it costs several times QDrop. With `correct_distribution`
each block's float inputs are first fitted to what its batch norms remember (`correction`), at the
price of 500 passes of the block for each batch; p is then the prediction for the fitted inputs.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.correction import STEPS
from workbench.methods.plan import Plan, SignalUse
from workbench.methods.qdrop import QDropOptions
from workbench.methods.reconstruction import Reconstruction
from workbench.methods.registry import method


class PdQuantOptions(QDropOptions):
    """Options of PD-Quant."""

    prediction: Annotated[
        float, Field(ge=0, le=1000, description="weight of the prediction difference, 1 / λ_r")
    ] = 10.0
    temperature: Annotated[float, Field(gt=0, le=100, description="T of both softmaxes")] = 4.0
    correct_distribution: Annotated[
        bool, Field(description="fit float inputs to batch-norm statistics first; slow")
    ] = False
    correction_steps: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            description="steps of that fit for each batch",
            json_schema_extra={"advanced": True},
        ),
    ] = STEPS


@method(
    "pd_quant",
    title="PD-Quant",
    options=PdQuantOptions,
    citation="Liu et al. 2023, arXiv:2212.07048",
    signal="block output error + prediction difference + rounding regulariser",
    scope="block",
    learnables="rounding, activation scale",
    data="unlabelled, 256 examples and more",
    cost="minutes to hours",
    cells=(
        "range/prediction",
        "rounding/prediction",
        "reconstruction/prediction",
        "reconstruction/prior",
    ),
    strategy="supervision",
    use="4 bits and below on classifiers, where minutes do not matter",
)
class PdQuant(Reconstruction):
    """Block reconstruction that keeps the network's prediction too."""

    options: PdQuantOptions

    def plan(self) -> Plan:
        options = self.options
        return options.mixed(
            SignalUse(
                name="prediction_difference",
                weight=options.prediction,
                options={"temperature": options.temperature},
            ),
            correction=options.correction_steps if options.correct_distribution else 0,
        )
