"""`methods`: what a recipe can name, and its place in the survey's frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.console import AsJson, app, emit, output, show
from workbench.foundation.errors import RecipeError, unknown_name

if TYPE_CHECKING:
    from workbench.session.frame import Cell, Known

PICTURES = (".svg", ".png", ".pdf")


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="Only this one, with its options.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, such as 'method'.")] = None,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Only the matrix of stages and learning signals.")
    ] = False,
    estimators: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Draw what gradient estimators do, all or the named one: .svg, .png or .pdf.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a recipe can name, and the matrix of stages and learning signals with ours in it."""
    from workbench.session.frame import frame, known

    if estimators is not None:
        _draw_estimators(estimators, name, as_json)
        return
    found = known() if kind is None else known([_kind(kind)])
    if name is not None:
        found = [_named(found, name)]
    if as_json:
        records = map(asdict, frame(found)) if matrix else (entry.record() for entry in found)
        emit(list(records))
    elif name is not None:
        _show_one(found[0])
    else:
        if not matrix:
            _show_all(found)
        _show_frame(frame(found))


def _draw_estimators(path: Path, name: str | None, as_json: bool) -> None:
    """A figure at `path`; with `as_json` the curves in it as well."""
    from workbench.maths.estimators.curves import curves
    from workbench.views.figures import estimator_figure, save

    if path.suffix.lower() not in PICTURES:
        raise RecipeError(f"--estimators was '{path}'; give a path that ends in .svg, .png or .pdf")
    if not path.parent.is_dir():
        raise RecipeError(f"--estimators was '{path}'; the folder '{path.parent}' does not exist")
    view = curves(None if name is None else [name])
    save(estimator_figure(view), path)
    if as_json:
        emit(view)
    else:
        names = ", ".join(record["name"] for record in view["estimators"])
        output.print(f"{names}: drawn in {path}", markup=False)


def _kind(name: str) -> str:
    from workbench.session.frame import REGISTRIES

    if name not in REGISTRIES:
        raise RecipeError(f"unknown kind '{name}'; known are: {', '.join(REGISTRIES)}")
    return name


def _named(found: Iterable[Known], name: str) -> Known:
    from workbench.session.frame import REGISTRIES

    named = next((entry for entry in found if entry.name == name), None)
    if named is None:
        names = [entry.name for registry in REGISTRIES.values() for entry in registry]
        raise RecipeError(unknown_name("name", name, names))
    return named


def _show_all(found: Iterable[Known]) -> None:
    for kind, entries in groupby(found, lambda entry: entry.kind):
        title = "Data makers" if kind == "data" else f"{kind.capitalize()}s"
        show(title, ("name", "when to use it", "data", "cost"), map(_row, entries))


def _row(entry: Known) -> tuple[str, ...]:
    data = str(entry.facts.get("data", "")).partition(",")[0]
    return (entry.name, str(entry.facts.get("use", "")), data, str(entry.facts.get("cost", "")))


def _show_frame(cells: Iterable[Cell]) -> None:
    columns = ("stage", "signal", "here", "in the literature")
    rows, stage = [], ""
    for cell in cells:
        first = "" if cell.stage == stage else cell.stage
        stage = cell.stage
        signal = cell.signal.replace("_", " ")
        rows.append((first, signal, ", ".join(cell.ours) or "-", cell.published))
    show("Stages and learning signals", columns, rows)


def _show_one(entry: Known) -> None:
    places = ", ".join(entry.facts.get("cells", ())).replace("_", " ")
    facts = {"acts at": places, **{k: v for k, v in entry.facts.items() if k != "cells"}}
    head = f"{entry.name} ({entry.kind}): {entry.title}\n  {entry.description}\n  {entry.citation}"
    output.print(head, markup=False)
    for key, value in facts.items():
        output.print(f"  {key}: {_text(value)}", markup=False)
    columns = ("option", "default", "what it is")
    rows = [(o["name"], _text(o["default"]), o.get("help", "")) for o in entry.options]
    show("Options", columns, rows)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
