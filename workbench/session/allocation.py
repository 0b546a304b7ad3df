"""Which site gets how many bits, under budgets of a recipe's model; the answer is recipe edits.

    1. what each site at each width does to the   prediction      `analysis.bits.sensitivity`
    2. what it costs: bits, bytes, bit operations, milliseconds   `session.bit_costs`
    3. the best choice within the budgets                         `analysis.bits.programme`
    4. where asked for, a search on the true score                `analysis.bits.refine`, `haq`
    5. the choice and every uniform width that the budgets allow are run, all sites together, on
       examples that calibrate; the one nearest to the float network is taken

Weights have a choice, and activations where widths are named for them. What comes out is the recipe
with one override for each site whose bits changed, so learning on top is whatever stages the recipe
has. The steps are in `session.allocating`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from workbench.analysis.bits.problem import SLACK, Table
from workbench.analysis.bits.refine import SearchOptions
from workbench.foundation.options import Options
from workbench.session.recipe import Override, Recipe
from workbench.session.whatif import NEAREST

#: resource -> its name for people and its unit
RESOURCES = {
    "average_bits": ("average bits", ""),
    "bytes": ("size of the weights", "B"),
    "file_bytes": ("size of the weights in the file", "B"),
    "bops": ("bit operations", "million"),
    "latency_ms": ("time of the kernels", "ms"),
}


class Budgets(Options):
    """What a choice of bits may cost; what is not given is not limited."""

    average_bits: Annotated[
        float | None, Field(gt=0, le=8, description="bits of each value, of the weights to choose")
    ] = None
    bytes: Annotated[
        float | None, Field(gt=0, description="of all quantized weights, tightly packed")
    ] = None
    file_bytes: Annotated[
        float | None, Field(gt=0, description="the same in the containers that the file has")
    ] = None
    bops: Annotated[float | None, Field(gt=0, description="millions of bit operations")] = None
    latency_ms: Annotated[
        float | None, Field(gt=0, description="of ONNX Runtime's kernels, for one example")
    ] = None

    def limits(self) -> dict[str, float]:
        """Those that are given, by resource."""
        return self.model_dump(exclude_none=True)


class AllocationOptions(Options):
    """How bits are chosen."""

    method: Annotated[
        Literal["milp", "hawq", "cem", "evolution", "haq"],
        Field(description="integer programme; the same on HAWQ's traces; searches; a policy"),
    ] = "milp"
    sensitivity: Annotated[
        Literal["fisher", "exact", "hawq"],
        Field(description="estimate from gradients; run each width; from traces"),
    ] = "fisher"
    rounding: Annotated[
        str, Field(description="of the weights that are tried: nearest, gram or gptq")
    ] = NEAREST
    activations: Annotated[
        tuple[Annotated[int, Field(ge=2, le=16)], ...],
        Field(description="bits that activations may have; none: those of the recipe"),
    ] = ()
    least: Annotated[int, Field(ge=1, le=8, description="fewest bits")] = 2
    most: Annotated[int, Field(ge=1, le=8, description="most bits")] = 8
    ties: Annotated[
        Literal["none", "residual", "inputs", "both"],
        Field(description="layers with equal bits: those that are added, those that read alike"),
    ] = "none"
    pairs: Annotated[
        bool, Field(description="count what layers in one residual sum do to each other")
    ] = False
    examples: Annotated[int, Field(ge=1, description="that sensitivities are measured on")] = 256
    judged: Annotated[int, Field(ge=1, description="that choices are run on together")] = 256
    search: Annotated[SearchOptions, Field(description="of the methods cem, evolution and haq")] = (
        SearchOptions()
    )


@dataclass(frozen=True)
class Choice:
    """Bits for every open weight and activation.

    Attributes:
        name: "mixed", "uniform 4" or the like.
        bits: by site.
        harm: estimated increase of the KL divergence, in nats.
        costs: by resource.
        kl: measured with all weights together, on examples that calibrate; None if not run.
    """

    name: str
    bits: Mapping[str, int]
    harm: float
    costs: Mapping[str, float]
    kl: float | None = None

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "bits": dict(self.bits), "costs": dict(self.costs)}


@dataclass(frozen=True)
class Allocation:
    """A choice of bits, what it was compared with, and the recipe that has it.

    Attributes:
        base: the recipe that was asked about, pins included.
        chosen: what was taken.
        uniform: the same bits everywhere, for each width.
        points: of a sweep, by rising cost; resource: that was swept; knee: index of the knee.
        budgets: that held.
        patterns: site -> what names it in a recipe.
        options: how it was chosen.
        sensitivities: harm by site and bits, in nats.
        activations: the sites that are activations.
        note: why it is not what was sought, or "".
        seconds: that it took.
    """

    base: Recipe
    chosen: Choice
    uniform: tuple[Choice, ...]
    points: tuple[Choice, ...]
    resource: str
    knee: int | None
    budgets: Mapping[str, float]
    patterns: Mapping[str, str]
    options: AllocationOptions
    sensitivities: Table = field(repr=False)
    note: str = ""
    seconds: float = 0.0
    activations: tuple[str, ...] = ()

    @property
    def recipe(self) -> Recipe:
        """The recipe with the chosen bits."""
        return self.recipe_of(self.chosen)

    def recipe_of(self, choice: Choice) -> Recipe:
        """The recipe with the bits of a choice, such as a point of the sweep."""
        return self.base.changed(overrides=(*self.base.overrides, *self.overrides(choice)))

    def overrides(self, choice: Choice) -> tuple[Override, ...]:
        """The recipe edits: one for each site that has other bits than the recipe's."""
        active = self.base.activations
        usual = {"weights": self.base.weights.bits, "activations": active.bits if active else 0}
        found = []
        for name, bits in choice.bits.items():
            kind = "activations" if name in self.activations else "weights"
            if bits != usual[kind]:
                found.append(Override(**{"pattern": self.patterns[name], kind: bits}))
        return tuple(found)

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "chosen": self.chosen.record(),
            "uniform": [choice.record() for choice in self.uniform],
            "points": [choice.record() for choice in self.points],
            "resource": self.resource,
            "knee": self.knee,
            "budgets": dict(self.budgets),
            "overrides": [o.model_dump(exclude_none=True) for o in self.overrides(self.chosen)],
            "patterns": dict(self.patterns),
            "sensitivities": {n: dict(row) for n, row in self.sensitivities.items()},
            "options": self.options.model_dump(),
            "recipe": self.recipe.toml(),
            "note": self.note,
            "seconds": self.seconds,
        }

    def sentence(self) -> str:
        """One line for people."""
        limit = {n: f"{self.chosen.costs[n]:.4g} of {v:.4g}" for n, v in self.budgets.items()}
        held = ", ".join(
            f"{RESOURCES[n][0]} {text} {RESOURCES[n][1]}".rstrip() for n, text in limit.items()
        )
        best = min(
            (c for c in self.uniform if within(c, self.budgets)), key=measured_kl, default=None
        )
        beside = (
            ""
            if best is None
            else f"; the best uniform width within it, {best.name}, has {measured_kl(best):.4g}"
        )
        return f"{held or 'no budget'}: KL {measured_kl(self.chosen):.4g} nats{beside}"


def within(choice: Choice, limits: Mapping[str, float]) -> bool:
    """Whether a choice keeps every budget."""
    return all(choice.costs[name] <= limit * (1 + SLACK) for name, limit in limits.items())


def measured_kl(choice: Choice) -> float:
    """KL divergence as measured; infinite where it was not."""
    return math.inf if choice.kl is None else choice.kl


def _used(choice: Choice, resource: str, limit: float) -> str:
    name, unit = RESOURCES[resource]
    return f"{name} {choice.costs[resource]:.4g} of {limit:.4g} {unit}".rstrip()
