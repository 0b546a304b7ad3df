"""AutoRound (SignRound, Cheng et al. 2024, arXiv:2309.05516): signed gradient descent on rounding.

    V -= lr sign(∂L/∂V),   |V| <= 1/2,   α, β likewise;   lr falls linearly to 0

L is the block's squared output error, with inputs from the quantized prefix. As every step has one
size, 1 / iterations at first, the way that V can go is bounded by (T + 1) / (2 T), about one half:
enough to reach either neighbour. The best iterate is kept. 200 iterations by default (1,000 for
the "best" recipe, 50 for "light"), batches of 8 sequences.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.plan import Learnable, Plan, SignalUse
from workbench.methods.reconstruction import Reconstruction, ReconstructionOptions
from workbench.methods.registry import method


class AutoRoundOptions(ReconstructionOptions):
    """Options of AutoRound."""

    iterations: Annotated[int, Field(ge=1, le=1_000_000, description="steps for each block")] = 200
    learning_rate: Annotated[
        float, Field(ge=0, le=1, description="of V, α and β; 0 takes 1 / iterations")
    ] = 0.0


@method(
    "autoround",
    title="AutoRound",
    options=AutoRoundOptions,
    citation="Cheng et al. 2024, arXiv:2309.05516",
    signal="block output error, sign of the gradient",
    scope="block",
    learnables="rounding, weight scale",
    data="unlabelled, 128 examples and more",
    cost="minutes",
    cells=("range/block_error", "rounding/block_error", "reconstruction/block_error"),
    strategy="reconstruction",
    use="transformers at 4 bits and below; few options to get wrong",
)
class AutoRoundMethod(Reconstruction):
    """Moves rounding and ranges by the gradient's sign, and keeps the best iterate."""

    options: AutoRoundOptions

    def plan(self) -> Plan:
        options = self.options
        rate = options.learning_rate or 1 / options.iterations
        return Plan(
            quantizer="autoround",
            learnables=(
                Learnable(name="rounding", learning_rate=rate, decay="linear"),
                Learnable(name="weight_scale", learning_rate=rate, decay="linear"),
            ),
            signals=(SignalUse(name="output_error"),),
            scope="block",
            inputs="quantized",
            schedule=options.schedule(optimiser="sign", keep_best=True),
            calibrator=options.calibrator,
            weight_calibrator=options.weight_calibrator,
        )
