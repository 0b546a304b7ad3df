"""Everything that a recipe can name, in the survey's frame of stages and signals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from workbench.foundation.options import controls
from workbench.foundation.registry import Entry, Registry
from workbench.foundation.taxonomy import PUBLISHED, SIGNALS, STAGES, cells
from workbench.graph.passes.registry import TRANSFORMS
from workbench.maths.calibrators.registry import CALIBRATORS
from workbench.maths.estimators.registry import ESTIMATORS
from workbench.methods.registry import METHODS
from workbench.synthesis.registry import MAKERS

#: what a recipe names -> where it is registered
REGISTRIES: Mapping[str, Registry[Any]] = {
    "method": METHODS,
    "transform": TRANSFORMS,
    "calibrator": CALIBRATORS,
    "estimator": ESTIMATORS,
    "data": MAKERS,
}

#: what `allocate` fills: its sensitivities and its ways to choose make a recipe, so none names them
ALLOCATION: Mapping[str, str] = {
    "allocate --sensitivity fisher": "allocation/second_order",
    "allocate --sensitivity hawq": "allocation/second_order",
    "allocate --sensitivity exact": "allocation/prediction",
    "allocate --method milp": "allocation/resources",
    "allocate --method haq": "allocation/resources",
}


@dataclass(frozen=True)
class Known:
    """One registered thing.

    Attributes:
        kind: "method", "transform", "calibrator", "estimator" or "data".
        name, title, description, citation: for people.
        facts: what it registered besides: data, cost, use, strategy, cells and more.
        options: their controls as JSON values.
    """

    kind: str
    name: str
    title: str
    description: str
    citation: str
    facts: Mapping[str, Any]
    options: tuple[dict[str, Any], ...]

    def record(self) -> dict[str, Any]:
        """As JSON values, the facts beside the rest."""
        values = asdict(self)
        return {**values.pop("facts"), **values}


@dataclass(frozen=True)
class Cell:
    """One stage under one signal: what is here, and what the literature has."""

    stage: str
    signal: str
    ours: tuple[str, ...]
    published: str


def known(kinds: Iterable[str] = REGISTRIES) -> list[Known]:
    """Everything registered under some kinds, by kind and name."""
    return [_known(kind, entry) for kind in kinds for entry in REGISTRIES[kind]]


def frame(entries: Iterable[Known] | None = None) -> list[Cell]:
    """The cells that something of ours or of the literature fills, stage by stage."""
    entries = known() if entries is None else list(entries)
    places = [(entry.name, set(cells(entry.facts.get("cells", ())))) for entry in entries]
    if {entry.kind for entry in entries} == set(REGISTRIES):
        places += [(name, set(cells([cell]))) for name, cell in ALLOCATION.items()]
    found = []
    for stage in STAGES:
        for signal in SIGNALS:
            ours = tuple(name for name, filled in places if (stage, signal) in filled)
            published = PUBLISHED.get(f"{stage}/{signal}", "")
            if ours or published:
                found.append(Cell(stage, signal, ours, published))
    return found


def _known(kind: str, entry: Entry[Any]) -> Known:
    options = tuple(control.record() for control in controls(entry.options))
    return Known(
        kind, entry.name, entry.title, entry.description, entry.citation, entry.facts, options
    )
