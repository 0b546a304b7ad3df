"""`whatif`: what a layer would lose with other bits, scales or rounding, before anything is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from workbench.cli.console import (
    AsJson,
    DataPath,
    Examples,
    Model,
    Weights,
    app,
    emit,
    errors,
    open_session,
    show,
)

if TYPE_CHECKING:
    from workbench.session.whatif import WhatIf


@app.command()
def whatif(  # noqa: PLR0913 - one option for each choice
    model: Model,
    layer: Annotated[str, typer.Argument(help="A layer or a weight; without it all layers.")] = "",
    weights: Weights = 4,
    granularity: Annotated[str, typer.Option(help="tensor, channel or group.")] = "channel",
    group_size: Annotated[int, typer.Option(help="Weights in a group.")] = 32,
    table: Annotated[
        str, typer.Option(help="Levels: uniform, or a table such as nf4.")
    ] = "uniform",
    method: Annotated[str, typer.Option(help="nearest, gram or gptq.")] = "nearest",
    calibrator: Annotated[str, typer.Option(help="Range of the weights.")] = "mse",
    data: DataPath = None,
    examples: Examples = 128,
    as_json: AsJson = False,
) -> None:
    """What layers would lose with these weights: expected SQNR of their outputs, from moments."""
    from workbench.graph.targets import WeightGrid

    grid = {"bits": weights, "granularity": granularity, "group_size": group_size, "table": table}
    request = WeightGrid.parse(grid, "weights")
    session = open_session(model, data)
    with Progress(console=errors, transient=True) as bar:
        task = bar.add_task("moments", total=1.0)
        found = session.what_if(
            layer,
            request,
            method=method,
            calibrator=calibrator,
            examples=examples,
            progress=lambda share, _: bar.update(task, completed=share),
        )
    if as_json:
        emit([answer.record() for answer in found])
    else:
        _show(found)


def _show(found: list[WhatIf]) -> None:
    columns = ("weight", "operator", "grid", "SQNR dB", "worst channel dB", "note")
    rows = [
        (a.weight, a.op, a.grid, f"{a.sqnr_db:.1f}", f"{a.worst_db:.1f}", a.note) for a in found
    ]
    show(f"Expected of {found[0].method} rounding", columns, rows)
