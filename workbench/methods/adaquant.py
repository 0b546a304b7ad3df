"""AdaQuant (Hubara et al. 2021, arXiv:2006.10518): free weights, layer by layer.

    min over V, b, s_w, s_a of ‖W x + b0 - (Q(W + V; s_w) Q(x̂; s_a) + b)‖²

Weights, biases and both kinds of step move together, by Adam. The released script takes 100
iterations of 50 examples with rates of 1e-5 (weights), 1e-3 (biases and weight steps) and 1e-1
(activation steps). V is not bounded, so below 4 bits few examples are over-fitted: learned rounding
(AdaRound) serves better there.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.plan import Learnable, Plan, SignalUse
from workbench.methods.reconstruction import Reconstruction, ReconstructionOptions
from workbench.methods.registry import method


class AdaQuantOptions(ReconstructionOptions):
    """Options of AdaQuant."""

    learning_rate: Annotated[float, Field(gt=0, le=1, description="of the weights")] = 1e-3
    bias_learning_rate: Annotated[float, Field(gt=0, le=1, description="of the biases")] = 1e-3
    scale_learning_rate: Annotated[
        float, Field(gt=0, le=1, description="of the steps, as a share of each")
    ] = 1e-3


@method(
    "adaquant",
    title="AdaQuant",
    options=AdaQuantOptions,
    citation="Hubara et al. 2021, arXiv:2006.10518",
    signal="layer output error",
    scope="layer",
    learnables="weights, biases, scales",
    data="unlabelled, 500 examples and more",
    cost="minutes",
    cells=("range/layer_error", "reconstruction/layer_error"),
    strategy="reconstruction",
    use="4 bits with 500 examples and more; over-fits with few",
)
class AdaQuantMethod(Reconstruction):
    """Moves weights, biases and steps of a layer until its output is right again."""

    options: AdaQuantOptions

    def plan(self) -> Plan:
        options = self.options
        steps = options.scale_learning_rate
        return Plan(
            quantizer="adaquant",
            learnables=(
                Learnable(name="weights", learning_rate=options.learning_rate, decay="cosine"),
                Learnable(name="bias", learning_rate=options.bias_learning_rate, decay="cosine"),
                Learnable(name="weight_scale", learning_rate=steps, decay="cosine"),
                Learnable(name="activation_scale", learning_rate=steps, decay="cosine"),
            ),
            signals=(SignalUse(name="output_error"),),
            scope="layer",
            inputs="quantized",
            schedule=options.schedule(keep_best=True),
            calibrator=options.calibrator,
            weight_calibrator=options.weight_calibrator,
        )
