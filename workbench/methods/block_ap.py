"""Block-AP: all parameters of one block after another (EfficientQAT, first phase; Chen et al. 2024,
arXiv:2407.11062).

    min over V, b, s_w, s_a of ‖block(x) - block_quantized(x̂)‖²,   ŵ = Q(W + V; s_w)

Weights, biases, and the steps of weights and activations of a block move together; nothing of it is
frozen. The codes it ends with are then fixed, and `e2e_qp` trains their steps end to end: the two
stages are EfficientQAT.

The paper learns weights at 1e-5 to 2e-5 and steps and zero-points at 1e-4, for 2 epochs of 4096
sequences with batches of 2, weights in groups and without zero-points learned here: weight grids
are symmetric. Layers of small networks are far from convergence at those rates, so the defaults are
AdaQuant's. Activations, float in the paper, learn their steps too where they have any.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.plan import Learnable, Plan, SignalUse
from workbench.methods.reconstruction import Reconstruction, ReconstructionOptions
from workbench.methods.registry import method


class BlockApOptions(ReconstructionOptions):
    """Options of Block-AP."""

    learning_rate: Annotated[float, Field(gt=0, le=1, description="of the weights and biases")] = (
        1e-3
    )
    scale_learning_rate: Annotated[
        float, Field(gt=0, le=1, description="of the steps, as a share of each")
    ] = 1e-3


@method(
    "block_ap",
    title="Block-AP: all parameters, block by block",
    options=BlockApOptions,
    citation="Chen et al. 2024, arXiv:2407.11062",
    signal="block output error",
    scope="block",
    learnables="weights, biases, scales",
    data="unlabelled, 500 examples and more",
    cost="minutes",
    cells=("range/block_error", "reconstruction/block_error"),
    strategy="reconstruction",
    use="2 and 3 bits with 500 examples and more; e2e_qp follows",
)
class BlockAp(Reconstruction):
    """Moves everything in a block until its output is right again."""

    options: BlockApOptions

    def plan(self) -> Plan:
        options = self.options
        rate, steps = options.learning_rate, options.scale_learning_rate
        return Plan(
            quantizer="adaquant",
            learnables=(
                Learnable(name="weights", learning_rate=rate, decay="cosine"),
                Learnable(name="bias", learning_rate=rate, decay="cosine"),
                Learnable(name="weight_scale", learning_rate=steps, decay="cosine"),
                Learnable(name="activation_scale", learning_rate=steps, decay="cosine"),
            ),
            signals=(SignalUse(name="output_error"),),
            scope="block",
            inputs="quantized",
            schedule=options.schedule(keep_best=True),
            calibrator=options.calibrator,
            weight_calibrator=options.weight_calibrator,
        )
