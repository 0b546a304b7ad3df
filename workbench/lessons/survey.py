"""A person in front of the survey's two maps: what is looked at, and what is asked of the adviser.

Both doors keep such a record and hand messages of the browser to `after`, as with a demo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, Self

from workbench.foundation.errors import RecipeError, WorkbenchError
from workbench.foundation.taxonomy import cells
from workbench.session.advice import Advice, advise
from workbench.session.exemplar import Exemplar, exemplar
from workbench.session.frame import Known, known
from workbench.session.guide import CONSTRAINTS, DATA, MODELS
from workbench.session.recipe import Recipe

FIRST_CELL = "rounding/block_error"
AXES: Mapping[str, Mapping[str, Any]] = {"data": DATA, "model": MODELS, "constraint": CONSTRAINTS}


@dataclass(frozen=True)
class Visit:
    """A frozen record; `after` gives the next one.

    Attributes:
        cell: "stage/signal" that is looked at.
        kind, name: of what was opened from a cell, "" before.
        data, model, constraint: what the adviser is asked.
        problem: why the last message changed nothing, in a sentence.
    """

    cell: str = FIRST_CELL
    kind: str = ""
    name: str = ""
    data: str = "some"
    model: str = "cnn"
    constraint: str = "w4a4"
    problem: str = ""

    def __post_init__(self) -> None:
        _cell(self.cell)
        self.advice()
        self.opened()

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The inverse of `record`; what is not known any more is forgotten."""
        given = {key: str(record[key]) for key in cls.__dataclass_fields__ if key in record}
        try:
            return cls(**given)
        except WorkbenchError:
            return cls()

    def methods(self) -> list[Known]:
        """What is registered in the cell, by kind and name."""
        here = _cell(self.cell)
        return [entry for entry in _everything() if here in cells(entry.facts["cells"])]

    def opened(self) -> Exemplar | None:
        """What was opened, on its sample; None before."""
        return exemplar(self.kind, self.name) if self.name else None

    def advice(self) -> Advice:
        """What the adviser says."""
        return advise(self.data, self.model, self.constraint)

    def recipe(self, part: str) -> tuple[Recipe, str]:
        """A recipe and the sample for it: of the "adviser", or of what was "opened".

        Raises:
            RecipeError: nothing was opened.
        """
        if part == "adviser":
            found = self.advice()
            return found.recipe, found.sample
        opened = self.opened()
        if opened is None:
            raise RecipeError("nothing of a cell is open; choose one of its methods first")
        return opened.recipe, opened.sample

    def after(self, message: Mapping[str, Any]) -> Self:
        """The record after a message of the browser; what cannot be becomes its `problem`.

        Messages: `cell` (cell), `method` (of, name), `ask` (any of data, model, constraint).
        """
        try:
            return replace(self, **self._changes(message), problem="")
        except WorkbenchError as error:
            return replace(self, problem=str(error))

    def _changes(self, message: Mapping[str, Any]) -> dict[str, str]:
        kind = message.get("kind")
        if kind == "cell":
            return {"cell": str(message.get("cell")), "kind": "", "name": ""}
        if kind == "method":
            return {"kind": str(message.get("of")), "name": str(message.get("name"))}
        if kind == "ask":
            return {axis: str(message[axis]) for axis in AXES if axis in message}
        return {}


@cache
def _everything() -> tuple[Known, ...]:
    return tuple(known())


def _cell(name: str) -> tuple[str, str]:
    try:
        return cells([name])[0]
    except ValueError as error:
        raise RecipeError(str(error)) from None
