"""Commands that look at models: `models`, `inspect`, `diagnose`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from workbench.cli.console import (
    Activations,
    AsJson,
    DataPath,
    Edges,
    Mean,
    Model,
    Size,
    Std,
    Weights,
    app,
    bits,
    emit,
    errors,
    open_session,
    output,
    show,
)


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
def inspect(model: Model, as_json: AsJson = False) -> None:
    """What a model is made of: its inputs, its layers, their sizes."""
    session = open_session(model)
    from workbench.graph.sites import layers

    found = layers(session.graph)
    about = session.about()
    if as_json:
        rows = [_layer(layer) for layer in found]
        folds = [{"name": fold.name, "count": fold.count} for fold in session.folds]
        emit({**about, "layer_list": rows, "folds": folds})
        return
    head = f"{about['name']}: {_count(about['parameters'])} parameters in {len(found)} layers"
    ends = [f"{s['name']} {s['shape']} {s['dtype']}" for s in (*about["inputs"], *about["outputs"])]
    output.print(f"{head}, opset {about['opset']}\n  " + "\n  ".join(ends), markup=False)
    columns = ("layer", "operator", "weight", "parameters", "multiply-adds")
    table = [
        (la.name, la.op, "×".join(map(str, la.shape)), _count(la.parameters), _count(la.macs))
        for la in found
    ]
    show("", columns, table)


@app.command()
def diagnose(  # noqa: PLR0913 - one parameter for each option
    model: Model,
    weights: Weights = 4,
    activations: Activations = "8",
    edges: Edges = "same",
    method: Annotated[str, typer.Option(help="How to quantize meanwhile.")] = "rtn",
    data: DataPath = None,
    mean: Mean = "",
    std: Std = "",
    size: Size = "",
    as_json: AsJson = False,
) -> None:
    """Which layers suffer: each one alone, and all together, on held-out data."""
    session = open_session(model, data, mean, std, size)
    active = bits(activations, "--activations", "float")
    outer = bits(edges, "--edges", "same")
    with errors.status("looking at each layer"):
        found = session.diagnose(weights, active, method, edges=outer)
    if as_json:
        emit({"model": session.name, "layers": found.records, "guilty": found.guilty})
        return
    columns = ("layer", "operator", "weights dB", "input dB", "gathered dB", "flips %")
    show(f"{session.name}, W{weights}A{activations}", columns, map(_error_row, found.records))
    output.print("worst first: " + ", ".join(found.guilty), markup=False)


def _facts(card: Mapping[str, Any]) -> dict[str, Any]:
    score = card.get("score") or {}
    text = f"{score['value']:g} {score['unit']}" if score else "–"
    wanted = ("parameters", "macs", "data", "licence", "bytes", "sha256")
    facts = {key: card.get(key) for key in wanted}
    return {**facts, "score": score or None, "score_text": text}


def _layer(layer: Any) -> dict[str, Any]:
    return {
        "name": layer.name,
        "op": layer.op,
        "shape": list(layer.shape),
        "parameters": layer.parameters,
        "macs": layer.macs,
    }


def _error_row(record: Mapping[str, Any]) -> tuple[str, ...]:
    keys = ("alone_weights_db", "alone_activations_db", "accumulated_db")
    decibels = (_fixed(record.get(key)) for key in keys)
    flips = record.get("damage_flips")
    share = None if flips is None else 100 * flips
    return (str(record["layer"]), str(record["op"]), *decibels, _fixed(share))


def _fixed(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
