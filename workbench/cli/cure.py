"""`cure`: why a layer of a run suffers, and a cure that is applied and kept where it helps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.console import (
    AsJson,
    RunName,
    app,
    emit,
    output,
    positive_option,
    say,
    show,
)
from workbench.foundation.errors import RecipeError

if TYPE_CHECKING:
    from workbench.session.causes import Causes
    from workbench.session.curing import Treatment

MILLI = 1000.0


@app.command()
def cure(  # noqa: PLR0913 - one parameter for each option
    run: RunName,
    layer: Annotated[
        str, typer.Option(help="A layer, or a weight or activation; none: what hurts most.")
    ] = "",
    apply: Annotated[int, typer.Option(help="Number of the cure to apply; 0 lists them.")] = 0,
    auto: Annotated[
        bool, typer.Option("--auto", help="Cure what hurts most, again and again.")
    ] = False,
    score: Annotated[
        float | None, typer.Option(help="Of --auto: to reach; else 1 % less than float.")
    ] = None,
    budget: Annotated[
        int | None, typer.Option(help="Of --auto: bytes of weights that no cure may exceed.")
    ] = None,
    examples: Annotated[
        int, typer.Option(help="Held-out examples that decide.", callback=positive_option)
    ] = 512,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the cured run.")] = None,
    as_json: AsJson = False,
) -> None:
    """Name the causes of a layer's damage, each with its number, and what can be done.

    With --apply or --auto the cured recipe is learned and written as a run like any other.
    """
    from workbench.session.curing import chosen, of_run
    from workbench.session.runs import Run

    if auto and (apply or layer):
        raise RecipeError("--auto chooses layers and cures itself; drop --layer and --apply")
    if not auto and (score is not None or budget is not None):
        raise RecipeError("--score and --budget say where --auto ends; add it")
    treatment = of_run(Run(run), examples, say)
    if auto:
        treatment.auto(score, budget)
    else:
        found = treatment.causes(layer)
        if not apply:
            _list(found, as_json)
            return
        treatment.apply(chosen(found, apply), found.layer)
        treatment.end = "one cure was tried"
    _finish(treatment, out, as_json)


def _finish(treatment: Treatment, out: Path | None, as_json: bool) -> None:
    """Write the run, if anything was kept."""
    kept = any(step.kept for step in treatment.steps)
    made = treatment.write(out) if kept else None
    if as_json:
        emit({**treatment.record(), "run": None if made is None else str(made.directory)})
        return
    if made is None:
        output.print("nothing was kept, and no run was written", markup=False)
    else:
        output.print(f"wrote run '{made.directory}'", markup=False)


def _list(found: Causes, as_json: bool) -> None:
    record = found.record()
    if as_json:
        emit(record)
        return
    damage = f"{MILLI * found.damage:.3g} thousandths of a nat"
    head = f"{found.layer}: {damage} when it alone is quantized"
    output.print(head, markup=False, highlight=False)
    if not found.findings:
        output.print("no cause was established", markup=False)
    for finding in found.findings:
        share = 100 * finding.removed / finding.before
        told = f"{finding.sentence}; {share:.0f} % of {finding.whose}"
        text = f"- {finding.title}, '{finding.site}': {told}"
        output.print(text, markup=False, highlight=False)
    if found.proposals:
        columns = ("number", "cure", "what it does", "damage then", "bytes", "BOPs")
        show("Cures", columns, map(_row, record["cures"]))


def _row(cure: dict[str, Any]) -> tuple[str, ...]:
    after = cure["predicted_damage"]
    return (
        str(cure["number"]),
        cure["name"],
        cure["words"],
        "to be tried" if after is None else f"{MILLI * after:.3g}",
        f"{cure['more_bytes']:+,}",
        f"{cure['more_bops']:+.3g}",
    )
