"""An adviser: from data × model × constraint to a recipe, with its reasons.

    found = advise("few", "vit", "w4a4")
    found.recipe.save("advised.toml")
    found.reasons

Where the guide has a row for the condition, that row is taken. Else the row for the same model and
constraint that asks for the most of the data that there are, since more data serve what needs less.
Where there is none either, the number of bits decides, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from workbench.foundation.errors import RecipeError, unknown_name
from workbench.methods.registry import METHODS
from workbench.session.guide import CONSTRAINTS, CONVOLUTIONS, DATA, GUIDE, MODELS, Row
from workbench.session.recipe import FLOAT, Recipe

#: what the size of a model means for the choice
SIZES: Mapping[str, str] = {
    "depthwise": "below 5 million parameters or with depthwise layers: sensitive; train at 4 bits"
    " and below, scales per channel, first and last layer at 8 bits",
    "cnn": "5 to 100 million parameters: blocks are the right piece to reconstruct",
    "vit": "0.1 to 1 billion parameters: RepQ-ViT or SmoothQuant with GPTQ, or blocks",
    "llm": "above a billion parameters: weights only, in groups, one block at a time in memory",
}
#: bits -> what is needed there
BITS: Mapping[int, str] = {
    8: "8 bits: statistics are enough",
    6: "6 bits: statistics and a search",
    4: "4 bits: reconstruction",
    3: "3 bits: reconstruction with distillation, or training",
    2: "2 bits: training, on balanced grids",
    1: "1 bit: training, and an architecture made for it",
}
OVERFIT = (
    "few examples are easily over-fitted: compare with a run on made ones (--synthetic zeroq),"
    " above all where the real ones may not be like those to come"
)
TRAINS = ("some", "many", "labels")


@dataclass(frozen=True)
class Advice:
    """What is advised, and why.

    Attributes:
        data, model, constraint: keys of the condition.
        row: of the guide, or what stands in for one.
        exact: the guide has a row for just this condition.
        reasons, cautions: sentences.
    """

    data: str
    model: str
    constraint: str
    row: Row
    exact: bool
    reasons: tuple[str, ...]
    cautions: tuple[str, ...]

    @property
    def sample(self) -> str:
        """A sample model of this family, to try it on."""
        return MODELS[self.model][1]

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe."""
        return _recipe(self.row, self.data, self.model, self.constraint)

    @property
    def command(self) -> str:
        """What does the rest on the sample, where a recipe alone cannot say it; else ""."""
        return self.row.command.replace("MODEL", self.sample)

    def sentence(self) -> str:
        """One line for people."""
        condition = f"{DATA[self.data]}, {MODELS[self.model][0]}, {CONSTRAINTS[self.constraint][0]}"
        return f"{condition}: {self.row.recommended}"

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "data": self.data,
            "model": self.model,
            "constraint": self.constraint,
            "sentence": self.sentence(),
            "recommended": self.row.recommended,
            "exact": self.exact,
            "reasons": list(self.reasons),
            "cautions": list(self.cautions),
            "sample": self.sample,
            "command": self.command,
            "methods": list(self.row.stages),
            "transforms": list(self.row.transforms),
            "recipe": self.recipe.toml(),
        }


def advise(data: str, model: str, constraint: str) -> Advice:
    """What to do under a condition.

    Args:
        data: a key of `DATA`; model: of `MODELS`; constraint: of `CONSTRAINTS`.

    Raises:
        RecipeError: one of them is unknown; the message has those known.
    """
    for noun, key, known in (
        ("data", data, DATA), ("model", model, MODELS), ("constraint", constraint, CONSTRAINTS)
    ):  # fmt: skip
        if key not in known:
            raise RecipeError(unknown_name(noun, key, list(known)))
    found = row_of(data, model, constraint)
    exact = found is not None and data in found.data
    row = found or _by_bits(data, model, constraint)
    reasons = (_capital(row.why), *_general(model, constraint), *_uses(row))
    return Advice(
        data, model, constraint, row, exact, reasons, _cautions(row, data, exact, found is None)
    )


def row_of(data: str, model: str, constraint: str) -> Row | None:
    """The row of the guide for a condition: one with just these data, else with the most below."""
    order = list(DATA)
    fitting = [row for row in GUIDE if model in row.models and constraint in row.constraints]
    for known in reversed(order[: order.index(data) + 1]):
        found = next((row for row in fitting if known in row.data), None)
        if found is not None and (known != "none" or data == "none"):
            return found
    return None


def _by_bits(data: str, model: str, constraint: str) -> Row:
    """What the number of bits says, where the guide has no row."""
    bits = _bits(constraint)
    trained = data in TRAINS
    if bits >= 8:
        stages: tuple[str, ...] = ("rtn",)
    elif bits == 1:
        stages = ("reactnet",) if model in CONVOLUTIONS else ("paretoq",)
    elif bits == 2 and trained:
        stages = ("paretoq",) if constraint == "w2" else ("lsq",)
    elif bits == 3 and data in ("many", "labels"):
        stages = ("lsq",)
    else:
        stages = ("qdrop",) if data == "some" else ("gram",)
    more: dict[str, Any] = {}
    if bits == 1 and model in CONVOLUTIONS:
        more = {"weights": {"bits": 1}, "activations": {"bits": 1}}
    if model == "llm" and constraint in ("w4", "w3", "w2") and bits > 2:
        more = {"weights": {"granularity": "group", "group_size": 32}}
    row = (data,), (model,), (constraint,)
    titles = " and ".join(METHODS[name].title for name in stages)
    why = "no row of the guide is about this, so the number of bits decides"
    return Row(*row, recommended=titles, why=why, stages=stages, more=more)


def _recipe(row: Row, data: str, model: str, constraint: str) -> Recipe:
    """The row's recipe on the constraint's grids."""
    grids = CONSTRAINTS[constraint][1]
    more = dict(row.more)
    weights = {"bits": grids["weights"], **more.pop("weights", {})}
    active = {"bits": grids["activations"]} if "activations" in grids else FLOAT
    active = more.pop("activations", active)
    place = {"target": "weight-only"} if active == FLOAT else {}
    maker = row.maker or _maker(data, model)
    made = {"synthetic": maker} if maker else {}
    stages = [{"method": name, "options": row.options.get(name, {})} for name in row.stages]
    asked: dict[str, Any] = {
        "weights": weights,
        "activations": active,
        "transforms": row.transforms,
        "stages": stages,
    }
    return Recipe(**{**place, **made, **more, **asked})


def _maker(data: str, model: str) -> str:
    """What makes examples where there are none."""
    if data != "none":
        return ""
    return {"vit": "random", "llm": "generated"}.get(model, "zeroq")


def _general(model: str, constraint: str) -> tuple[str, ...]:
    return _capital(BITS[_bits(constraint)]), _capital(SIZES[model])


def _uses(row: Row) -> tuple[str, ...]:
    """When to take the methods of the row, in their own words."""
    return tuple(f"{METHODS[n].title} ({n}): {METHODS[n].facts['use']}" for n in row.stages)


def _cautions(row: Row, data: str, exact: bool, guessed: bool) -> tuple[str, ...]:
    found = [row.caution] if row.caution else []
    if guessed:
        found.append("the survey does not speak of this condition: measure before relying on it")
    elif not exact:
        asked = " or ".join(DATA[each] for each in row.data)
        found.append(f"the guide's row is for {asked}; more data than that do no harm")
    bits = _bits(row.constraints[0]) if guessed else 8
    if guessed and bits <= 2 and data not in TRAINS:
        found.append("so few bits want training, and for that these data are too few")
    if data == "few":
        found.append(OVERFIT)
    return tuple(map(_capital, found))


def _bits(constraint: str) -> int:
    """The fewest bits of a constraint."""
    return min(CONSTRAINTS[constraint][1].values())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
