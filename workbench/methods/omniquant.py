"""OmniQuant's learnable weight clipping, LWC (Shao et al. 2024, arXiv:2308.13137).

    min over γ, β of ‖z - ẑ‖²,   s = (σ(γ) max(w) - σ(β) min(w)) / (2^bits - 1)

Only the range of each scale moves: two numbers for each channel or group, so few examples suffice
and nothing is over-fitted. The paper takes 20 passes over 128 sequences, AdamW at a rate of 1e-2,
batch 1, blocks of a transformer.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.plan import Calibrator, Learnable, Plan, SignalUse
from workbench.methods.reconstruction import Reconstruction, ReconstructionOptions
from workbench.methods.registry import method


class OmniQuantOptions(ReconstructionOptions):
    """Options of learnable weight clipping."""

    iterations: Annotated[int, Field(ge=1, le=1_000_000, description="steps for each block")] = 200
    learning_rate: Annotated[float, Field(gt=0, le=1, description="of γ and β")] = 5e-2
    weight_calibrator: Annotated[Calibrator, Field(description="range that is clipped")] = "minmax"


@method(
    "omniquant",
    title="OmniQuant: learnable weight clipping",
    options=OmniQuantOptions,
    citation="Shao et al. 2024, arXiv:2308.13137",
    signal="block output error",
    scope="block",
    learnables="weight scale (clipping)",
    data="unlabelled, 64 examples and more",
    cost="minutes",
    cells=("range/block_error", "reconstruction/block_error"),
    strategy="parameters",
    use="transformers, group-wise weights at 4 bits and below",
)
class OmniQuant(Reconstruction):
    """Learns how much of each weight range to keep, block by block."""

    options: OmniQuantOptions

    def plan(self) -> Plan:
        options = self.options
        rate = options.learning_rate
        return Plan(
            quantizer="clipping",
            learnables=(Learnable(name="weight_scale", learning_rate=rate, decay="cosine"),),
            signals=(SignalUse(name="output_error"),),
            scope="block",
            inputs="quantized",
            schedule=options.schedule(keep_best=True),
            calibrator=options.calibrator,
            weight_calibrator=options.weight_calibrator,
        )
