"""QDrop (Wei et al. 2022, arXiv:2203.05740): block reconstruction with dropped quantization.

    x̂ = M x_quantized + (1 - M) x_float,   M ~ Bernoulli(keep), element by element

The mask mixes both the block's input (from the quantized and the float prefix) and every activation
inside the block, and is drawn anew at each step; at inference everything is quantized. The rounding
learned so is flat: it does well under many perturbations of its inputs. Rounding and activation
steps move together. In the paper 20,000 iterations with rates of 1e-3 (V) and 4e-5 (steps, cosine),
λ = 0.01, keep = 0.5, 1,024 examples; fewer iterations at higher rates and λ here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.plan import Learnable, Plan, SignalUse
from workbench.methods.reconstruction import Reconstruction, ReconstructionOptions
from workbench.methods.registry import method


class QDropOptions(ReconstructionOptions):
    """Options of QDrop."""

    keep: Annotated[float, Field(ge=0, le=1, description="share of activations kept quantized")] = (
        0.5
    )
    learning_rate: Annotated[float, Field(gt=0, le=1, description="of V")] = 1e-2
    scale_learning_rate: Annotated[
        float, Field(gt=0, le=1, description="of the activation steps, as a share of each")
    ] = 1e-3
    regulariser: Annotated[float, Field(ge=0, le=10, description="weight of the rounding term")] = (
        0.1
    )

    def mixed(self, *more: SignalUse, scope: str = "block", **fields: object) -> Plan:
        """The plan, with further signals or another scope."""
        steps = self.scale_learning_rate
        return Plan(
            quantizer="rounding",
            learnables=(
                Learnable(name="rounding", learning_rate=self.learning_rate),
                Learnable(name="activation_scale", learning_rate=steps, decay="cosine"),
            ),
            signals=(
                SignalUse(name="output_error"),
                SignalUse(name="rounding_regulariser", weight=self.regulariser),
                *more,
            ),
            scope=scope,  # type: ignore[arg-type]
            inputs="mixed",
            keep=self.keep,
            schedule=self.schedule(),
            calibrator=self.calibrator,
            weight_calibrator=self.weight_calibrator,
            **fields,  # type: ignore[arg-type]
        )


@method(
    "qdrop",
    title="QDrop",
    options=QDropOptions,
    citation="Wei et al. 2022, arXiv:2203.05740",
    signal="block output error under random dropping + rounding regulariser",
    scope="block",
    learnables="rounding, activation scale",
    data="unlabelled, 256 examples and more",
    cost="minutes",
    cells=("rounding/block_error", "reconstruction/block_error"),
    strategy="reconstruction",
    use="activations at 4 bits and below",
)
class QDrop(Reconstruction):
    """Block reconstruction in which each activation is quantized only now and then."""

    options: QDropOptions

    def plan(self) -> Plan:
        return self.options.mixed()
