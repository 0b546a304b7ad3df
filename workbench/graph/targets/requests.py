"""What a person asks of a target: grids for weights and activations, and exceptions by pattern."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from workbench.foundation.errors import RecipeError
from workbench.foundation.options import Options
from workbench.maths.levels import UNIFORM, table, table_serves

FEWEST_ACTIVATION_BITS = 1


def _whole(value: Any) -> Any:
    """True and '4' are no numbers of bits, although Python would take them for some."""
    if isinstance(value, bool | str):
        raise ValueError("give a whole number such as 4")
    return value


Bits = Annotated[int, BeforeValidator(_whole)]
OverrideBits = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=32)]


class WeightGrid(Options):
    """What is asked of the weights."""

    bits: Annotated[Bits, Field(ge=1, le=8, description="bits of each weight")] = 4
    granularity: Annotated[
        Literal["tensor", "channel", "group"], Field(description="values that share a scale")
    ] = "channel"
    group_size: Annotated[Bits, Field(ge=1, le=4096, description="weights in a group")] = 32
    symmetric: Annotated[bool, Field(description="zero-point fixed at 0")] = True
    table: Annotated[str, Field(description="'uniform' steps, or a table of levels")] = UNIFORM

    @model_validator(mode="after")
    def _has_levels(self) -> Self:
        if not table_serves(self.table, self.bits):
            legal = table(self.table).bits
            use = legal[0] if len(legal) == 1 else f"{legal[0]} to {legal[-1]}"
            raise RecipeError(
                f"weights: table '{self.table}' is not defined for {self.bits} bits; use {use}, or"
                " table 'uniform'"
            )
        return self


class ActivationGrid(Options):
    """What is asked of the activations."""

    bits: Annotated[
        Bits, Field(ge=FEWEST_ACTIVATION_BITS, le=16, description="bits of each activation")
    ] = 8
    symmetric: Annotated[
        bool | None,
        Field(description="signed, zero-point fixed at 0; if not given, as the target wants it"),
    ] = None


class Override(Options):
    """Other bits for what `pattern` names; 0 keeps it float.

    A pattern is the name of a node or tensor, with * and ? where wanted, or one of

        op:TYPE         all nodes of an operator type
        tensor:NAME     a weight or activation tensor
        after:NODE      everything that depends on a node's output
        before:NODE     everything that a node depends on
        layer:first     the first layer; layer:last the last one

    Later overrides win over earlier ones, and all of them over `edges`.
    """

    pattern: Annotated[str, Field(min_length=1, description="name, pattern, or op:, after: ...")]
    weights: Annotated[OverrideBits | None, Field(description="bits; 0 is float")] = None
    activations: Annotated[OverrideBits | None, Field(description="bits; 0 is float")] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.weights is None and self.activations is None:
            raise ValueError("it changes nothing; give weights or activations")
        return self
