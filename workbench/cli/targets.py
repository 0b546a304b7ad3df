"""The command that shows where a file can run, and what a model becomes there: `targets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import AsJson, app, emit, open_session, output, show
from workbench.cli.quantize import (
    Granularity,
    LevelTable,
    OptionalActivations,
    OptionalEdges,
    Overrides,
    RecipeFile,
    Store,
    TargetName,
    recipe_of,
)

OptionalModel = Annotated[
    str | None, typer.Argument(help="A model, to see what becomes of each of its nodes.")
]
WeightBits = Annotated[
    int | None, typer.Option("--weights", help="Bits of the weights, 1 to 8 \\[8].")
]


@app.command()
def targets(  # noqa: PLR0913 - one parameter for each option
    model: OptionalModel = None,
    target: TargetName = None,
    weights: WeightBits = None,
    activations: OptionalActivations = None,
    granularity: Granularity = None,
    table: LevelTable = None,
    edges: OptionalEdges = None,
    override: Overrides = None,
    store: Store = None,
    recipe: RecipeFile = None,
    as_json: AsJson = False,
) -> None:
    """Where a file can run; with a model, for each node: integer or float there, and why."""
    if model is None:
        _list(as_json)
        return
    given = {
        "target": target,
        "weights": weights if weights is not None or recipe else 8,
        "activations": activations,
        "granularity": granularity,
        "table": table,
        "edges": edges,
        "override": override,
        "store": store,
    }
    _cover(model, given, recipe, as_json)


def _cover(model: str, given: dict[str, Any], file: Path | None, as_json: bool) -> None:
    from workbench.views.coverage import coverage

    wanted = recipe_of(given, file)
    session = open_session(model)
    found = session.coverage(wanted)
    record = found.record()
    if as_json:
        emit({**record, "quantized": session.already})
        return
    if session.already:
        output.print(session.already, markup=False)
        if not found.stored_parameters:
            return
    seen = coverage(record)
    show("", seen["columns"], (row["cells"] for row in seen["rows"]))
    output.print(seen["sentence"], markup=False)


def _list(as_json: bool) -> None:
    from workbench.graph.targets import TARGETS

    records = [place.record() for place in TARGETS.values()]
    if as_json:
        emit(records)
        return
    columns = ("target", "what it is", "weights", "activations", "scales per", "integer operators")
    rows = [
        (
            place["name"],
            place["title"],
            _widths(place["weight_bits"] if place["activation_bits"] else place["stored_bits"]),
            _widths(place["activation_bits"]) or "float",
            ", ".join(place["granularities"]),
            place["operators"] if isinstance(place["operators"], str) else len(place["operators"]),
        )
        for place in records
    ]
    show("Targets", columns, rows)


def _widths(bits: list[int]) -> str:
    from workbench.graph.targets.base import listed

    return listed(bits) if bits else ""
