"""What methods let a person choose that search bits while they train."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from workbench.methods.network_plan import NetworkPlan, Search
from workbench.methods.training_options import TrainingOptions

_RARE: dict[str, Any] = {"advanced": True}
Travel = Annotated[
    float,
    Field(
        ge=0,
        le=100,
        description="how far the search may move a weight: bits, or units of its branches",
        json_schema_extra=_RARE,
    ),
]


class SearchOptions(TrainingOptions):
    """The course and the signals, with a budget and the bits to choose from."""

    average_bits: Annotated[
        float,
        Field(ge=0, le=8, description="largest average of the weights; 0: as asked, if no bops"),
    ] = 0.0
    bops: Annotated[
        float, Field(ge=0, description="most millions of bit operations an example; 0: no limit")
    ] = 0.0
    least: Annotated[int, Field(ge=2, le=8, description="fewest bits of a weight")] = 2
    most: Annotated[int, Field(ge=2, le=8, description="most bits of a weight")] = 8
    search: Annotated[float, Field(gt=0, le=1, description="share of the epochs that search")] = 0.5
    budget: Annotated[
        float, Field(ge=0, le=1e6, description="weight of the budget", json_schema_extra=_RARE)
    ] = 0.3
    travel: Travel = 4.0

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.bits:
            raise ValueError("bits to pass through and a search for bits exclude each other")
        self.searched("frac_bits")
        return self

    def searched(self, quantizer: str) -> Search:
        """The search with a quantizer."""
        return Search(
            quantizer=quantizer,
            share=self.search,
            travel=self.travel,
            weight=self.budget,
            average_bits=self.average_bits,
            bops=self.bops,
            least=self.least,
            most=self.most,
        )

    def searching(self, quantizer: str) -> NetworkPlan:
        """The plan that searches with a quantizer, and trains on with LSQ."""
        return self.plan(weights="lsq", activations="lsq", search=self.searched(quantizer))
