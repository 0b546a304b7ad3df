"""`advise`: from what there is and what is wanted to a recipe, with its reasons."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli.console import AsJson, app, emit, output, show
from workbench.foundation.errors import RecipeError

if TYPE_CHECKING:
    from workbench.session.advice import Advice


@app.command()
def advise(
    data: Annotated[
        str | None, typer.Option(help="What there is: none, few, some, many or labels.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="What it is: cnn, depthwise, vit or llm.")
    ] = None,
    constraint: Annotated[
        str | None,
        typer.Option(
            help="What is wanted: w8a8, w6a6, w4a8, w4a4, w3a3, w2a2, w1; w4, w3, w2 with float"
            " activations; budget, latency, integer or table."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the recipe is written.")] = None,
    as_json: AsJson = False,
) -> None:
    """Which methods to take under a condition, as a recipe; without any, the whole guide."""
    from workbench.session import advice

    asked = {"data": data, "model": model, "constraint": constraint}
    missing = [f"--{name}" for name, value in asked.items() if value is None]
    if len(missing) == len(asked) and out is None:
        _show_guide(as_json)
        return
    if data is None or model is None or constraint is None:
        raise RecipeError(
            f"{' and '.join(missing)} missing; give --data, --model and --constraint, or none of"
            " them for the whole guide"
        )
    found = advice.advise(data, model, constraint)
    if out is not None:
        found.recipe.save(out)
    if as_json:
        emit(found.record())
    else:
        _show(found, out)


def _show(found: Advice, out: Path | None) -> None:
    output.print(f"{found.row.recommended}\n", markup=False)
    for mark, lines in (("-", found.reasons), ("!", found.cautions)):
        for line in lines:
            output.print(f"{mark} {line}", markup=False)
    output.print(f"\n{found.recipe.toml().strip()}\n", markup=False, highlight=False)
    if found.command:
        output.print(f"then: {found.command}", markup=False)
    path = out or "recipe.toml"
    output.print(f"try it: workbench quantize {found.sample} --recipe {path}", markup=False)


def _show_guide(as_json: bool) -> None:
    from workbench.session.guide import CONSTRAINTS, DATA, GUIDE, MODELS

    if as_json:
        names = {"data": dict(DATA), "model": {k: v for k, (v, _) in MODELS.items()}}
        names["constraint"] = {k: v for k, (v, _) in CONSTRAINTS.items()}
        emit({**names, "guide": [asdict(row) for row in GUIDE]})
        return
    rows = [
        (", ".join(r.data), ", ".join(r.models), ", ".join(r.constraints), r.recommended, r.why)
        for r in GUIDE
    ]
    show("Applicability guide", ("data", "model", "for", "recommended", "why"), rows)
