"""BRECQ (Li et al. 2021, arXiv:2102.05426): rounding and activation steps, block by block.

    min over V, s_a of E[Δzᵀ diag((∂L/∂z_1)², ...) Δz] + λ Σ (1 - |2 h(V) - 1|^β)   (eq. 10)

z is a block's output. With signal "mse" the diagonal is the identity, which is what the released
script runs; "fisher" weights each element by what it means to the prediction. The paper learns the
rounding for 20,000 iterations at λ = 0.01, then the activation steps for 5,000 at p = 2.4. Here
both move together, as in later re-runs of the method, with fewer iterations at a higher rate and λ.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from workbench.methods.plan import Learnable, Plan, SignalUse
from workbench.methods.reconstruction import Reconstruction, ReconstructionOptions
from workbench.methods.registry import method


class BrecqOptions(ReconstructionOptions):
    """Options of BRECQ."""

    learning_rate: Annotated[float, Field(gt=0, le=1, description="of V")] = 1e-2
    scale_learning_rate: Annotated[
        float, Field(gt=0, le=1, description="of the activation steps, as a share of each")
    ] = 1e-3
    regulariser: Annotated[float, Field(ge=0, le=10, description="weight of the rounding term")] = (
        0.1
    )
    signal: Annotated[
        Literal["mse", "fisher"], Field(description="plain or Fisher-weighted output error")
    ] = "mse"


@method(
    "brecq",
    title="BRECQ",
    options=BrecqOptions,
    citation="Li et al. 2021, arXiv:2102.05426",
    signal="block output error (plain or Fisher-weighted) + rounding regulariser",
    scope="block",
    learnables="rounding, activation scale",
    data="unlabelled, 256 examples and more",
    cost="minutes",
    cells=("rounding/block_error", "reconstruction/block_error", "reconstruction/second_order"),
    strategy="reconstruction",
    use="4 bits and below, where layers alone lose what blocks keep",
)
class Brecq(Reconstruction):
    """Reconstructs residual blocks, so that errors inside one can cancel."""

    options: BrecqOptions

    def plan(self) -> Plan:
        options = self.options
        error = "fisher" if options.signal == "fisher" else "output_error"
        steps = options.scale_learning_rate
        return Plan(
            quantizer="rounding",
            learnables=(
                Learnable(name="rounding", learning_rate=options.learning_rate),
                Learnable(name="activation_scale", learning_rate=steps, decay="cosine"),
            ),
            signals=(
                SignalUse(name=error),
                SignalUse(name="rounding_regulariser", weight=options.regulariser),
            ),
            scope="block",
            inputs="quantized",
            schedule=options.schedule(),
            calibrator=options.calibrator,
            weight_calibrator=options.weight_calibrator,
        )
