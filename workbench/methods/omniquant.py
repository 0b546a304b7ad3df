"""OmniQuant: learned clipping and learned equivalent scaling (Shao et al. 2024, arXiv:2308.13137).

    min over Θ of ‖z - ẑ‖²,   Θ = γ, β for each channel or group, s and δ for each channel:

    LWC   step = (σ(γ) max(w) - σ(β) min(w)) / (2^bits - 1)
    LET   Y = ((X - δ) ⊘ s) (s ⊙ W) + (B + δ W)

Only ranges move, and what is shared between a tensor and the layers that read it: few numbers, so
few examples suffice and little is over-fitted. Where activations are quantized their steps learn
too, because the scale of a whole tensor has to follow s; the paper quantizes each token for itself.
It takes 20 passes over 128 sequences, AdamW at a rate of 1e-2 for γ and β and 5e-3 for s and δ,
batch 1, blocks of a transformer, and LET only with quantized activations.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.maths.calibrators.registry import WeightCalibrator
from workbench.methods.plan import Learnable, Plan, SignalUse
from workbench.methods.reconstruction import Reconstruction, ReconstructionOptions
from workbench.methods.registry import method


class OmniQuantOptions(ReconstructionOptions):
    """Options of OmniQuant."""

    iterations: Annotated[int, Field(ge=1, le=1_000_000, description="steps for each block")] = 200
    learning_rate: Annotated[float, Field(gt=0, le=1, description="of γ and β")] = 5e-2
    equivalent: Annotated[
        bool, Field(description="learn factors between a tensor and the layers that read it")
    ] = True
    equivalent_learning_rate: Annotated[
        float, Field(gt=0, le=1, description="of their logarithm, and of shifts")
    ] = 5e-3
    activation_learning_rate: Annotated[
        float, Field(ge=0, le=1, description="of activation steps; 0 keeps them")
    ] = 1e-3
    weight_calibrator: Annotated[WeightCalibrator, Field(description="range that is clipped")] = (
        "minmax"
    )


@method(
    "omniquant",
    title="OmniQuant: learned clipping and scaling",
    options=OmniQuantOptions,
    citation="Shao et al. 2024, arXiv:2308.13137",
    signal="block output error",
    scope="block",
    learnables="weight scale (clipping), factors and shifts of channels, activation scale",
    data="unlabelled, 64 examples and more",
    cost="minutes",
    cells=("transform/block_error", "range/block_error", "reconstruction/block_error"),
    strategy="parameters",
    use="transformers, group-wise weights at 4 bits and below",
)
class OmniQuant(Reconstruction):
    """Learns how much of each range to keep, and how activations and weights share it."""

    options: OmniQuantOptions

    def plan(self) -> Plan:
        options = self.options
        rates = {"weight_scale": options.learning_rate}
        if options.equivalent:
            rates["equivalent"] = options.equivalent_learning_rate
        if options.activation_learning_rate:
            rates["activation_scale"] = options.activation_learning_rate
        learnables = [
            {"name": name, "learning_rate": rate, "decay": "cosine"} for name, rate in rates.items()
        ]
        return Plan(
            quantizer="clipping",
            learnables=tuple(Learnable(**values) for values in learnables),
            signals=(SignalUse(name="output_error"),),
            scope="block",
            inputs="quantized",
            schedule=options.schedule(keep_best=True),
            calibrator=options.calibrator,
            weight_calibrator=options.weight_calibrator,
        )
