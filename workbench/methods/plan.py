"""A plan: what learns, from which signals, over which part of the network, on which schedule.

Every reconstruction method is one such value, so it can be read, stored, changed and run:

    quantizer = "rounding"          # what sits on the weights while they learn
    scope = "block"
    inputs = "mixed"

    [[learnables]]
    name = "rounding"
    learning_rate = 0.03

    [[signals]]
    name = "output_error"

    [schedule]
    iterations = 500

Fields left out take their defaults; a key that is not known is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from workbench.foundation.options import Options
from workbench.maths.calibrators.registry import ActivationCalibrator, WeightCalibrator
from workbench.methods.written import Written
from workbench.quantizers.registry import QUANTIZERS
from workbench.signals.registry import SIGNALS

Role = Literal["rounding", "weights", "weight_scale", "activation_scale", "bias", "equivalent"]
Decay = Literal["none", "linear", "cosine"]
Scope = Literal["layer", "block", "blocks", "network"]
Inputs = Literal["float", "quantized", "mixed"]
WHOLE = frozenset({"labels", "features", "weights"})  # what signals of a whole network look at


class Learnable(Options):
    """Something that moves.

    "rounding" is how each weight is rounded, "weights" an addition to each weight, "weight_scale"
    and "activation_scale" are step sizes or clips, "bias" is the layer's own, "equivalent" what is
    taken out of a tensor, channel by channel, and put into the layers that read it.
    """

    name: Annotated[Role, Field(description="what moves")]
    learning_rate: Annotated[
        float, Field(gt=0, le=10, description="of a scale, as a share of that scale")
    ]
    decay: Annotated[Decay, Field(description="how the rate falls to zero")] = "none"


class SignalUse(Options):
    """A term of the loss: a registered signal, its weight, its options, and when it counts.

    A course in phases has terms that begin late or end early, as shares of its steps.
    """

    name: Annotated[str, Field(description="a registered signal")]
    weight: Annotated[float, Field(ge=0, le=1e6, description="factor in the loss")] = 1.0
    options: dict[str, Any] = Field(default_factory=dict, description="of the signal")
    begin: Annotated[float, Field(ge=0, lt=1, description="share of the steps before it")] = 0.0
    end: Annotated[float, Field(gt=0, le=1, description="share of the steps that it ends at")] = 1.0

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.parsed()
        if self.begin >= self.end:
            raise ValueError(
                f"signal '{self.name}' begins at '{self.begin}' and ends at '{self.end}' of the"
                " steps; let it end later"
            )
        return self

    def weight_at(self, step: int, steps: int) -> float:
        """The factor at a step, from 1 to `steps`; 0 before it begins and after it ends.

        Example:
            >>> late = SignalUse(name="logits", begin=0.5)
            >>> [late.weight_at(step, 4) for step in (1, 2, 3, 4)]
            [0.0, 0.0, 1.0, 1.0]
        """
        return self.weight if self.begin * steps < step <= self.end * steps else 0.0

    def parsed(self) -> Options:
        """The signal's typed options.

        Raises:
            RecipeError: an unknown signal, an unknown option, or a value out of range.
        """
        return SIGNALS.parsed(self.name, self.options)


class Schedule(Options):
    """How long, with how much, and what is kept at the end."""

    iterations: Annotated[int, Field(ge=1, le=1_000_000, description="steps for each unit")] = 500
    batch_size: Annotated[int, Field(ge=1, le=4096, description="examples per step")] = 32
    optimiser: Annotated[
        Literal["adam", "sign"],
        Field(description="Adam, or the gradient's sign times the rate"),
    ] = "adam"
    keep_best: Annotated[
        bool, Field(description="end with the state that was best on held-out examples")
    ] = False
    patience: Annotated[
        int, Field(ge=0, le=1000, description="checks without progress before stopping; 0: never")
    ] = 0
    held_out: Annotated[
        float, Field(ge=0, le=0.5, description="share of the batches that only judges")
    ] = 0.1


class Plan(Written):
    """One row of the framework: learnables × signals × scope × data × schedule."""

    quantizer: Annotated[str, Field(description="learner on the weights")] = "rounding"
    learnables: Annotated[tuple[Learnable, ...], Field(min_length=1, description="what moves")]
    signals: Annotated[tuple[SignalUse, ...], Field(min_length=1, description="the loss")]
    scope: Annotated[Scope, Field(description="what is reconstructed in one piece")] = "layer"
    count: Annotated[
        int, Field(ge=1, le=64, description="for scope 'blocks': how many at once, or merged pairs")
    ] = 2
    merge: Annotated[
        Literal["consecutive", "capacity"],
        Field(description="for scope 'blocks': neighbours in turn, or pairs of unlike capacity"),
    ] = "consecutive"
    inputs: Annotated[Inputs, Field(description="prefix that a unit's inputs come from")] = (
        "quantized"
    )
    keep: Annotated[
        float, Field(ge=0, le=1, description="for mixed inputs: share of values kept quantized")
    ] = 0.5
    correction: Annotated[
        int,
        Field(ge=0, le=100_000, description="steps that fit float inputs to batch norms; 0: none"),
    ] = 0
    schedule: Schedule = Schedule()
    calibrator: Annotated[
        ActivationCalibrator, Field(description="range of activations that have none yet")
    ] = "mse"
    weight_calibrator: Annotated[
        WeightCalibrator, Field(description="range of weights that have none yet")
    ] = "mse"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        without_gaps(self.signals)
        roles = [learnable.name for learnable in self.learnables]
        if len(set(roles)) < len(roles):
            raise ValueError(f"learnables {roles} name one twice; give each once")
        _of_units(self.signals)
        learned = set(QUANTIZERS[self.quantizer].facts.get("learns", {}).values())
        missing = {"rounding", "weights", "weight_scale"} & set(roles) - learned
        if missing:
            fitting = [e.name for e in QUANTIZERS if missing <= _roles(e.facts)]
            raise ValueError(
                f"quantizer '{self.quantizer}' has no {sorted(missing)[0]} to learn; "
                f"choose among: {', '.join(fitting)}"
            )
        if "equivalent" in roles and not QUANTIZERS[self.quantizer].facts.get("follows"):
            fitting = [entry.name for entry in QUANTIZERS if entry.facts.get("follows")]
            raise ValueError(
                f"quantizer '{self.quantizer}' cannot follow weights that are rescaled as they"
                f" learn; choose among: {', '.join(fitting)}"
            )
        return self

    def rates(self) -> dict[Role, Learnable]:
        """The learnables by name."""
        return {learnable.name: learnable for learnable in self.learnables}

    def needs(self, fact: str) -> bool:
        """True if a signal with weight in it asks for `fact`, such as "prediction"."""
        used = (SIGNALS[use.name] for use in self.signals if use.weight)
        return any(fact in entry.facts.get("needs", ()) for entry in used)


def without_gaps(signals: Iterable[SignalUse]) -> None:
    """Refuse phases that leave a part of the course without any signal.

    Raises:
        ValueError: says where.
    """
    reached = 0.0
    for use in sorted((use for use in signals if use.weight), key=lambda use: use.begin):
        if use.begin > reached:
            break
        reached = max(reached, use.end)
    if reached < 1:
        raise ValueError(
            f"no signal counts after '{reached}' of the steps; let one begin there, or end later"
        )


def _of_units(signals: Iterable[SignalUse]) -> None:
    """Refuse signals that look at what only the training of a whole network has."""
    fitting = [e.name for e in SIGNALS if not WHOLE & set(e.facts.get("needs", ()))]
    for use in signals:
        if use.name not in fitting:
            raise ValueError(
                f"signal '{use.name}' is one for the training of a whole network; choose among:"
                f" {', '.join(fitting)}"
            )


def _roles(facts: Mapping[str, Any]) -> set[str]:
    return set(facts.get("learns", {}).values())
