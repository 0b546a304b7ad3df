"""Reconstruction with everything open: a person's own row (framework of BRECQ, arXiv:2102.05426).

    learnables × signals × scope × data × schedule

The other reconstruction methods are rows with most of these fixed. Here they are options, so that
AdaRound's rounding can be tried with a Fisher signal on blocks, FlexRound's on layers, and so on:

    [[stages]]
    method = "reconstruct"
    options = { learner = "rounding", signal = "fisher", scope = "block", inputs = "mixed" }
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from workbench.methods.plan import Decay, Inputs, Learnable, Plan, Role, Scope, SignalUse
from workbench.methods.reconstruction import Reconstruction, ReconstructionOptions
from workbench.methods.registry import method
from workbench.quantizers.registry import QUANTIZERS


class ReconstructOptions(ReconstructionOptions):
    """Options of free reconstruction."""

    learner: Annotated[
        str, Field(description="what learns on the weights: a quantizer such as 'rounding'")
    ] = "rounding"
    signal: Annotated[
        Literal["output_error", "fisher", "prediction_difference"],
        Field(description="what drives the learning"),
    ] = "output_error"
    norm: Annotated[float, Field(ge=1, le=8, description="p of the output error")] = 2.0
    scope: Annotated[Scope, Field(description="what is reconstructed in one piece")] = "block"
    count: Annotated[int, Field(ge=1, le=64, description="blocks in one piece, scope 'blocks'")] = 2
    inputs: Annotated[Inputs, Field(description="prefix that a unit's inputs come from")] = "mixed"
    keep: Annotated[
        float, Field(ge=0, le=1, description="share kept quantized, for mixed inputs")
    ] = 0.5
    learning_rate: Annotated[float, Field(gt=0, le=1, description="of the rounding")] = 1e-2
    scale_learning_rate: Annotated[
        float, Field(ge=0, le=1, description="of weight and activation steps; 0 keeps them")
    ] = 1e-3
    bias_learning_rate: Annotated[
        float, Field(ge=0, le=1, description="of the biases; 0 keeps them")
    ] = 0.0
    decay: Annotated[Decay, Field(description="how the rates fall")] = "none"
    prediction: Annotated[
        float, Field(ge=0, le=1000, description="weight of a prediction difference on top")
    ] = 0.0
    temperature: Annotated[float, Field(gt=0, le=100, description="T of the prediction")] = 4.0
    regulariser: Annotated[float, Field(ge=0, le=10, description="weight of the rounding term")] = (
        0.1
    )
    optimiser: Annotated[
        Literal["adam", "sign"], Field(description="Adam, or the gradient's sign")
    ] = "adam"
    keep_best: Annotated[bool, Field(description="end with the best iterate")] = False
    patience: Annotated[
        int, Field(ge=0, le=1000, description="checks without progress before stopping; 0: never")
    ] = 0

    @field_validator("learner")
    @classmethod
    def _learns(cls, name: str) -> str:
        if "learns" not in QUANTIZERS[name].facts:
            known = ", ".join(entry.name for entry in QUANTIZERS if "learns" in entry.facts)
            raise ValueError(f"quantizer '{name}' learns nothing here; choose among: {known}")
        return name


@method(
    "reconstruct",
    title="Reconstruction, everything open",
    options=ReconstructOptions,
    citation="Li et al. 2021, arXiv:2102.05426",
    signal="as chosen",
    scope="as chosen",
    learnables="as chosen",
    data="unlabelled, 256 examples and more",
    cost="minutes",
    cells=("reconstruction/block_error",),
    strategy="reconstruction",
    use="to compose a plan of one's own",
)
class Reconstruct(Reconstruction):
    """Any learner under any signal over any scope."""

    options: ReconstructOptions

    def plan(self) -> Plan:
        options = self.options
        return Plan(
            quantizer=options.learner,
            learnables=self._learnables(),
            signals=self._signals(),
            scope=options.scope,
            count=options.count,
            inputs=options.inputs,
            keep=options.keep,
            schedule=options.schedule(
                optimiser=options.optimiser,
                keep_best=options.keep_best,
                patience=options.patience,
            ),
            calibrator=options.calibrator,
            weight_calibrator=options.weight_calibrator,
        )

    def _learnables(self) -> tuple[Learnable, ...]:
        options = self.options
        roles = set(QUANTIZERS[options.learner].facts["learns"].values())
        rates: dict[Role, float] = {
            "rounding": options.learning_rate if "rounding" in roles else 0,
            "weights": options.learning_rate if "weights" in roles else 0,
            "weight_scale": options.scale_learning_rate if "weight_scale" in roles else 0,
            "activation_scale": options.scale_learning_rate,
            "bias": options.bias_learning_rate,
        }
        return tuple(
            Learnable(name=name, learning_rate=rate, decay=options.decay)
            for name, rate in rates.items()
            if rate
        )

    def _signals(self) -> tuple[SignalUse, ...]:
        options = self.options
        temperature = {"temperature": options.temperature}
        chosen = {"output_error": {"norm": options.norm}, "prediction_difference": temperature}
        uses = [SignalUse(name=options.signal, options=chosen.get(options.signal, {}))]
        if options.learner == "rounding":
            uses.append(SignalUse(name="rounding_regulariser", weight=options.regulariser))
        if options.prediction and options.signal != "prediction_difference":
            use = SignalUse(
                name="prediction_difference", weight=options.prediction, options=temperature
            )
            uses.append(use)
        return tuple(uses)
