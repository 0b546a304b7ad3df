"""AdaRound (Nagel et al. 2020, arXiv:2004.10568): learned rounding, layer by layer.

    min over V of ‖f(W x) - f(Ŵ(V) x̂)‖² + λ Σ (1 - |2 h(V) - 1|^β)            (eq. 25)

x̂ comes from the already quantized prefix, f is the activation function that follows the layer.
Adam moves V; after 20 % of the iterations the regulariser sets in and drives h(V) to 0 or 1. The
paper's 10,000 iterations at λ = 0.01 are cut to what a CPU gives, at a higher rate and λ.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.plan import Learnable, Plan, SignalUse
from workbench.methods.reconstruction import Reconstruction, ReconstructionOptions
from workbench.methods.registry import method


class AdaRoundOptions(ReconstructionOptions):
    """Options of AdaRound."""

    iterations: Annotated[int, Field(ge=1, le=1_000_000, description="steps for each layer")] = 1000
    learning_rate: Annotated[float, Field(gt=0, le=1, description="of V")] = 3e-2
    regulariser: Annotated[float, Field(ge=0, le=10, description="weight of the rounding term")] = (
        0.1
    )


@method(
    "adaround",
    title="AdaRound",
    options=AdaRoundOptions,
    citation="Nagel et al. 2020, arXiv:2004.10568",
    signal="layer output error + rounding regulariser",
    scope="layer",
    learnables="rounding",
    data="unlabelled, 256 examples and more",
    cost="minutes",
    cells=("rounding/layer_error", "rounding/regulariser", "reconstruction/layer_error"),
    strategy="reconstruction",
    use="weights at 4 bits, activations at 8 or float",
)
class AdaRound(Reconstruction):
    """Learns by gradient whether each weight is rounded up or down."""

    options: AdaRoundOptions

    def plan(self) -> Plan:
        options = self.options
        return Plan(
            quantizer="rounding",
            learnables=(Learnable(name="rounding", learning_rate=options.learning_rate),),
            signals=(
                SignalUse(name="output_error"),
                SignalUse(name="rounding_regulariser", weight=options.regulariser),
            ),
            scope="layer",
            inputs="quantized",
            schedule=options.schedule(),
            calibrator=options.calibrator,
            weight_calibrator=options.weight_calibrator,
        )
