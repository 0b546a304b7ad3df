"""FlexRound (Lee et al. 2023, arXiv:2306.00317): rounding by learned division, block by block.

    min over s1, S2, s3, s4, s_a of ‖z - ẑ‖²,   ŵ = s1 round(w / (s1 S2 s3 s4))

No regulariser is needed, since the forward pass always rounds; the step is learned with the rest.
The variables are learned as logarithms. The paper takes 5,000 iterations at a rate of 3e-3 for
language models, with inputs mixed as in QDrop for convolutional ones.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.plan import Inputs, Learnable, Plan, SignalUse
from workbench.methods.reconstruction import Reconstruction, ReconstructionOptions
from workbench.methods.registry import method


class FlexRoundOptions(ReconstructionOptions):
    """Options of FlexRound."""

    learning_rate: Annotated[float, Field(gt=0, le=1, description="of the logarithms")] = 2e-3
    scale_learning_rate: Annotated[
        float, Field(gt=0, le=1, description="of the activation steps, as a share of each")
    ] = 1e-3
    inputs: Annotated[Inputs, Field(description="prefix that a block's inputs come from")] = "mixed"


@method(
    "flexround",
    title="FlexRound",
    options=FlexRoundOptions,
    citation="Lee et al. 2023, arXiv:2306.00317",
    signal="block output error",
    scope="block",
    learnables="rounding, weight scale, activation scale",
    data="unlabelled, 256 examples and more",
    cost="minutes",
    cells=("range/block_error", "rounding/block_error", "reconstruction/block_error"),
    strategy="reconstruction",
    use="4 bits, where codes should move by more than one",
)
class FlexRoundMethod(Reconstruction):
    """Learns by what each weight is divided before rounding, block by block."""

    options: FlexRoundOptions

    def plan(self) -> Plan:
        options = self.options
        rate, steps = options.learning_rate, options.scale_learning_rate
        return Plan(
            quantizer="flexround",
            learnables=(
                Learnable(name="rounding", learning_rate=rate, decay="cosine"),
                Learnable(name="weight_scale", learning_rate=rate, decay="cosine"),
                Learnable(name="activation_scale", learning_rate=steps, decay="cosine"),
            ),
            signals=(SignalUse(name="output_error"),),
            scope="block",
            inputs=options.inputs,
            schedule=options.schedule(keep_best=True),
            calibrator=options.calibrator,
            weight_calibrator=options.weight_calibrator,
        )
