"""What every training method lets a person choose, flat enough for forms and the command line."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from workbench.methods.network_plan import RARE, Course, NetworkPlan, use
from workbench.methods.plan import SignalUse

Weight = Annotated[float, Field(ge=0, le=1e6)]


class TeachingOptions(Course):
    """The course, the weights of the signals, and what keeps training steady."""

    labels: Annotated[Weight, Field(description="weight of the loss on labels")] = 0.0
    logits: Annotated[Weight, Field(description="weight of distillation from the float model")] = (
        1.0
    )
    temperature: Annotated[
        float, Field(gt=0, le=100, description="T of the distillation", json_schema_extra=RARE)
    ] = 2.0
    smoothing: Annotated[
        float, Field(ge=0, lt=1, description="of the labels", json_schema_extra=RARE)
    ] = 0.0
    features: Annotated[
        Weight, Field(description="weight of distillation of inner tensors", json_schema_extra=RARE)
    ] = 0.0
    attention: Annotated[
        Weight,
        Field(description="weight of distillation of attention maps", json_schema_extra=RARE),
    ] = 0.0
    kurtosis: Annotated[
        Weight, Field(description="weight of uniform weights (KURE)", json_schema_extra=RARE)
    ] = 0.0
    dampening: Annotated[
        Weight, Field(description="weight of dampening", json_schema_extra=RARE)
    ] = 0.0
    bins: Annotated[
        Weight, Field(description="weight of bin regularisation", json_schema_extra=RARE)
    ] = 0.0
    freeze: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="frequency at which oscillating codes are frozen; 0: never",
            json_schema_extra=RARE,
        ),
    ] = 0.0
    norms: Annotated[
        bool,
        Field(
            description="at 3 bits and below, normalise convolutions; folded before the end",
            json_schema_extra=RARE,
        ),
    ] = True
    bits: Annotated[
        str,
        Field(
            description="bits to pass through before those asked for: 8,4",
            json_schema_extra=RARE,
        ),
    ] = ""

    @field_validator("bits", mode="before")
    @classmethod
    def _spelled(cls, given: object) -> object:
        """A single number, as a command line reads it."""
        return str(given) if isinstance(given, int) else given

    @field_validator("bits")
    @classmethod
    def _listed(cls, text: str) -> str:
        path(text)
        return text

    def gradient(self) -> str:
        """The estimator of the gradient of rounding, with its options."""
        return "clipped_ste"

    def course(self) -> Course:
        """The schedule alone."""
        return Course(**{name: getattr(self, name) for name in Course.model_fields})

    def signals(self) -> tuple[SignalUse, ...]:
        """The terms with a weight."""
        distilled = {"temperature": self.temperature}
        terms = {
            "labels": use("labels", self.labels, smoothing=self.smoothing),
            "logits": use("logits", self.logits, **distilled),
            **{
                name: use(name, getattr(self, name))
                for name in ("features", "attention", "kurtosis", "dampening", "bins")
                if getattr(self, name)
            },
        }
        return tuple(term for term in terms.values() if term.weight)

    def plan(self, **fields: Any) -> NetworkPlan:
        """The plan that these options amount to, with what a row adds."""
        own = {
            "signals": self.signals(),
            "estimator": self.gradient(),
            "bits": path(self.bits),
            "freeze": self.freeze,
            "norms": self.norms,
            "course": self.course(),
        }
        return NetworkPlan.parse({**own, **fields}, "the plan of training")


class TrainingOptions(TeachingOptions):
    """The same, and which gradient rounding has."""

    estimator: Annotated[
        str,
        Field(description="gradient of rounding: ste, ewgs:delta=0.01", json_schema_extra=RARE),
    ] = "clipped_ste"

    def gradient(self) -> str:
        return self.estimator


def path(text: str) -> tuple[int, ...]:
    """Bits from a list in text.

    Raises:
        ValueError: it holds something that is no number of bits.

    Example:
        >>> path("8, 4")
        (8, 4)
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    wrong = [word for word in words if not word.isdigit() or not 1 <= int(word) <= 8]
    if wrong:
        raise ValueError(f"'{wrong[0]}' is no number of bits; list them as 8,4")
    return tuple(map(int, words))
