"""The row of a training method: learnables × signals × stability × schedule, over the network.

Methods that train the whole network differ only in these, so each of them is a value of this file,
which goes to TOML and back:

    quantizers     what sits on weights and on activations, and so what of them is learned
    estimator      what stands in for the derivative of rounding
    signals        task loss, distillation, features, regularisers; each with its weight
    stability      freezing of weights that oscillate, gradient clipping, a mean of the weights
    course         how long, how fast, with how much, and with which augmentation
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from workbench.foundation.errors import unknown_name
from workbench.foundation.options import OneOf, Options
from workbench.foundation.spelling import split
from workbench.maths.estimators.base import Estimator
from workbench.maths.estimators.registry import make as make_estimator
from workbench.methods.plan import SignalUse, without_gaps
from workbench.methods.written import Written
from workbench.quantizers.registry import QUANTIZERS
from workbench.signals.registry import SIGNALS

Optimiser = Literal["adamw", "sgd"]
Fall = Literal["cosine", "linear", "none"]
Precision = Literal["float32", "bfloat16"]
Moves = Literal["everything", "scales", "weights", "branches"]

#: options that a form need not show
RARE: dict[str, Any] = {"advanced": True}
#: bits that are passed through on the way to those asked for
_MOST_BITS = 8


def trains(kind: str) -> list[str]:
    """Quantizers that a network can train with, on "weights" or on "activations"."""
    other = "activations_only" if kind == "weights" else "weights_only"
    known = (e for e in QUANTIZERS if other not in e.facts)
    return [e.name for e in known if not {"learns", "searches"} & set(e.facts)]


def searches() -> list[str]:
    """Quantizers that learn a number of bits, which something else has to settle."""
    return [e.name for e in QUANTIZERS if "searches" in e.facts]


def _checked(kind: str) -> AfterValidator:
    """Accepts a quantizer of a kind, with options behind a colon."""

    def check(text: str) -> str:
        name, given = split(text, "quantizer")
        if name not in trains(kind):
            raise ValueError(unknown_name(f"quantizer of {kind}", name, trains(kind)))
        QUANTIZERS.parsed(name, given)
        return text

    return AfterValidator(check)


WeightQuantizer = Annotated[str, _checked("weights")]
ActivationQuantizer = Annotated[str, _checked("activations")]


class Course(Options):
    """How long and how fast."""

    epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over the data")] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536, description="examples per step")] = 50
    accumulate: Annotated[
        int, Field(ge=1, le=1024, description="batches per step", json_schema_extra=RARE)
    ] = 1
    optimiser: Annotated[
        Optimiser, Field(description="AdamW, or SGD with momentum", json_schema_extra=RARE)
    ] = "adamw"
    learning_rate: Annotated[float, Field(ge=0, le=10, description="of the weights")] = 1e-3
    scale_learning_rate: Annotated[
        float, Field(ge=0, le=10, description="of scales and clips, as a share of each")
    ] = 1e-3
    relative: Annotated[
        bool, Field(description="a weight's rate is in proportion to its channel's size")
    ] = False
    weight_decay: Annotated[
        float, Field(ge=0, le=1, description="of the weights alone", json_schema_extra=RARE)
    ] = 0.0
    fall: Annotated[
        Fall, Field(description="how the rates fall to zero", json_schema_extra=RARE)
    ] = "cosine"
    warm_up: Annotated[
        float, Field(ge=0, lt=1, description="share of the steps it takes", json_schema_extra=RARE)
    ] = 0.0
    clip_norm: Annotated[
        float,
        Field(
            ge=0, le=1e6, description="largest norm of the gradient; 0: any", json_schema_extra=RARE
        ),
    ] = 0.0
    held_out: Annotated[
        float,
        Field(
            ge=0,
            le=0.5,
            description="share of the examples that only judges",
            json_schema_extra=RARE,
        ),
    ] = 0.05
    patience: Annotated[
        int,
        Field(
            ge=0,
            le=1000,
            description="epochs without progress before stopping; 0: never",
            json_schema_extra=RARE,
        ),
    ] = 0
    keep_best: Annotated[
        bool, Field(description="end with the best epoch on held-out data", json_schema_extra=RARE)
    ] = False
    mean: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="decay of a running mean of the weights; 0: none",
            json_schema_extra=RARE,
        ),
    ] = 0.0
    crop: Annotated[int, Field(ge=0, le=64, description="pixels that pictures are moved by")] = 0
    flip: Annotated[bool, Field(description="mirror pictures with an even chance")] = False
    mixup: Annotated[
        float,
        Field(
            ge=0,
            le=10,
            description="α of mixing pairs of pictures; 0: none",
            json_schema_extra=RARE,
        ),
    ] = 0.0
    precision: Annotated[
        Precision, Field(description="of the forward pass", json_schema_extra=RARE)
    ] = "float32"

    @property
    def augments(self) -> bool:
        """Whether examples differ from epoch to epoch, so that no answer can be kept."""
        return bool(self.crop or self.flip or self.mixup)


class Search(Options):
    """How the bits of weights are searched, and under which budget."""

    quantizer: Annotated[str, OneOf("quantizer that searches", searches)]
    share: Annotated[float, Field(gt=0, le=1, description="of the epochs that search")] = 0.5
    travel: Annotated[
        float,
        Field(ge=0, le=100, description="bits, or units of α, that a choice may move"),
    ] = 4.0
    weight: Annotated[float, Field(ge=0, le=1e6, description="of the budget in the loss")] = 0.3
    average_bits: Annotated[
        float, Field(ge=0, le=8, description="largest average; 0: as asked, or no limit with bops")
    ] = 0.0
    bops: Annotated[
        float, Field(ge=0, description="most millions of bit operations; 0: no limit")
    ] = 0.0
    least: Annotated[int, Field(ge=2, le=8, description="fewest bits of a weight")] = 2
    most: Annotated[int, Field(ge=2, le=8, description="most bits of a weight")] = 8

    @model_validator(mode="after")
    def _chooses(self) -> Self:
        if self.least >= self.most:
            raise ValueError(f"least was '{self.least}'; give less than most, '{self.most}'")
        return self

    def epochs(self, every: int) -> int:
        """How many epochs search; one at least, and all but one at most where there are more."""
        return min(max(1, round(self.share * every)), max(1, every - 1))


class NetworkPlan(Written):
    """Everything that decides how a network trains."""

    weights: Annotated[WeightQuantizer, Field(description="quantizer of the weights")] = "lsq"
    activations: Annotated[
        ActivationQuantizer, Field(description="quantizer of the activations")
    ] = "lsq"
    estimator: Annotated[
        str, Field(description="of the gradient, with options: ewgs:delta=0.01")
    ] = "clipped_ste"
    signals: Annotated[tuple[SignalUse, ...], Field(min_length=1, description="the loss")]
    bits: Annotated[
        tuple[int, ...], Field(description="bits to pass through before those asked for")
    ] = ()
    freeze: Annotated[
        float, Field(ge=0, le=1, description="frequency at which oscillating codes are frozen")
    ] = 0.0
    norms: Annotated[
        bool,
        Field(description="at 3 bits and below, normalise convolutions; folded before the end"),
    ] = True
    moves: Annotated[
        Moves, Field(description="what is trained; branches are low-rank corrections")
    ] = "everything"
    search: Annotated[Search | None, Field(description="of the bits of each weight")] = None
    course: Course = Course()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.make_estimator()
        without_gaps(self.signals)
        wrong = [b for b in self.bits if not 1 <= b <= _MOST_BITS]
        if wrong:
            raise ValueError(f"bits on the way were '{wrong[0]}'; give 1 to {_MOST_BITS}")
        if self.bits and self.search:
            raise ValueError("bits on the way and a search for bits do not go together; drop one")
        for use in self.signals:
            if set(SIGNALS[use.name].facts.get("needs", ())) & {"importance", "roundings"}:
                raise ValueError(f"signal '{use.name}' is for the reconstruction of blocks")
        return self

    def make_estimator(self) -> Estimator | None:
        """The estimator; None for the default one, which needs no detour."""
        name, options = split(self.estimator, "estimator")
        return None if name == "clipped_ste" else make_estimator(name, options)

    def needs(self, fact: str) -> bool:
        """True if a signal with weight in it asks for `fact`, such as "labels"."""
        used = (SIGNALS[use.name] for use in self.signals if use.weight)
        return any(fact in entry.facts.get("needs", ()) for entry in used)


def use(
    name: str, weight: float = 1.0, *, begin: float = 0.0, end: float = 1.0, **options: Any
) -> SignalUse:
    """A term of the loss, said in one line."""
    return SignalUse(name=name, weight=weight, options=options, begin=begin, end=end)
