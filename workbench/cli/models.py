"""Commands that look at models: `models`, `inspect`, `diagnose`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from workbench.cli.console import (
    AsJson,
    DataPath,
    Model,
    Transforms,
    app,
    emit,
    errors,
    open_session,
    output,
    show,
)
from workbench.foundation.errors import OperatorError

if TYPE_CHECKING:
    from workbench.graph import FoldRecord
    from workbench.graph.blocks import Block
    from workbench.graph.operators import OperatorUse
    from workbench.session.inspection import Inspection
    from workbench.session.session import Session


@app.command()
def models(as_json: AsJson = False) -> None:
    """The models that can be opened by name."""
    from workbench.session import zoo

    found = [
        {"name": known.name, "title": known.title, **_facts(known.card)}
        for known in zoo.known().values()
    ]
    if as_json:
        emit(found)
        return
    columns = ("name", "what it is", "parameters", "score")
    rows = [(m["name"], m["title"], _count(m["parameters"]), m["score_text"]) for m in found]
    show("Models", columns, rows)


@app.command()
def inspect(
    model: Model,
    blocks: Annotated[
        bool, typer.Option("--blocks", help="Parts with one way in and out.")
    ] = False,
    passes: Annotated[bool, typer.Option("--passes", help="What was done to the graph.")] = False,
    prove: Annotated[
        bool, typer.Option("--prove", help="Measure what each pass changes, in ONNX Runtime.")
    ] = False,
    transform: Transforms = None,
    data: DataPath = None,
    as_json: AsJson = False,
) -> None:
    """What a model is made of: inputs, operators, layers; its blocks, and the passes over it."""
    session = _opened(model, data)
    with errors.status("looking at the model"):
        found = session.inspect(prove, tuple(transform or ()))
    if as_json:
        emit(found.record())
        return
    _show_head(found)
    _show_operators(found.operators)
    _show_layers(found)
    if blocks:
        _show_blocks(found.blocks)
    if passes or prove or transform:
        _show_passes(found.passes)


def _opened(model: str, data: Path | None) -> Session:
    """The session; where an operator is not known, a table shows which before the error does."""
    from workbench.graph import load
    from workbench.graph.operators import operators

    try:
        return open_session(model, data)
    except OperatorError:
        path = Path(model).expanduser()
        if path.is_file():
            _show_operators(operators(load(path)), errors)
        raise


def _show_head(found: Inspection) -> None:
    about = found.about
    head = f"{about['name']}: {_count(about['parameters'])} parameters in {about['layers']} layers"
    ends = [f"{s['name']} {s['shape']} {s['dtype']}" for s in (*about["inputs"], *about["outputs"])]
    text = f"{head}, {about['nodes']} nodes, opset {about['opset']}\n  " + "\n  ".join(ends)
    output.print(text, markup=False)
    if about["quantized"]:
        output.print(about["quantized"], markup=False)


def _show_operators(found: Sequence[OperatorUse], console: Console = output) -> None:
    unknown = [use for use in found if not use.supported]
    rows = [
        (_full_name(use), str(use.count), "yes" if use.supported else f"no: '{use.example}'")
        for use in (*unknown, *(use for use in found if use.supported))
    ]
    show("Operators", ("operator", "nodes", "supported"), rows, console)


def _full_name(use: OperatorUse) -> str:
    return f"{use.domain}.{use.name}" if use.domain else use.name


def _show_layers(found: Inspection) -> None:
    columns = ("layer", "operator", "weight", "parameters", "multiply-adds", "with")
    rows = [
        (
            layer.name,
            layer.op,
            "×".join(map(str, layer.shape)),
            _count(layer.parameters),
            _count(layer.macs),
            ", ".join(found.fused.get(layer.name, ())),
        )
        for layer in found.layers
    ]
    show("Layers", columns, rows)


def _show_blocks(found: Sequence[Block]) -> None:
    columns = ("block", "kind", "from", "to", "nodes", "layers")
    rows = [
        (
            "  " * block.level + block.name,
            block.kind,
            ", ".join(block.inputs),
            block.output,
            str(len(block.nodes)),
            ", ".join(block.layers),
        )
        for block in found
    ]
    show("Blocks", columns, rows)


def _show_passes(found: Sequence[FoldRecord]) -> None:
    columns = ("pass", "count", "before → after", "difference", "what")
    rows = [
        (
            step.name,
            str(step.count),
            "; ".join(f"{n}: {a:.4g} → {b:.4g}" for n, (a, b) in step.measures.items()),
            "–" if step.max_difference is None else f"{step.max_difference:.1e}",
            step.detail,
        )
        for step in found
    ]
    show("Passes", columns, rows)


def _facts(card: Mapping[str, Any]) -> dict[str, Any]:
    score = card.get("score") or {}
    text = f"{score['value']:g} {score['unit']}" if score else "–"
    wanted = ("parameters", "macs", "data", "licence", "bytes", "sha256")
    facts = {key: card.get(key) for key in wanted}
    return {**facts, "score": score or None, "score_text": text}


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
