"""Where the time and the bytes go, node by node: float against quantized."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.views import strings, study
from workbench.views.numbers import fixed

Record = Mapping[str, Any]

MEASURE = {"kind": "measure", "study": "times"}
EMPTY = "Not measured yet: each node of the file is timed in ONNX Runtime beside the float model."
COLOURS = {"integer": "quant", "float": "float"}
INSERTED = {
    "(conversion)": "conversions between float and integers that no fusion took in",
    "(layout)": "changes of memory layout that ONNX Runtime inserted",
}


def part(record: Record | None) -> dict[str, Any]:
    """The part of time and size.

    Args:
        record: of a `Profile`, or None where it was not measured.
    """
    if not record:
        measure = study.action("Measure by node", MEASURE, primary=True)
        return study.part(message=EMPTY, actions=[measure])
    again = study.action("Measure again", MEASURE)
    return study.part(
        sentence(record), notes=_notes(record), tables=[_nodes(record)], actions=[again]
    )


def status(record: Record | None) -> str:
    """In a few words."""
    if not record:
        return "not measured"
    return f"{fixed(record['latency']['quantized_ms'], 2)} ms, {_ratio(record)} × float"


def sentence(record: Record) -> str:
    """The whole call in one line."""
    both, shares = record["latency"], record["shares"]
    return (
        f"{fixed(both['quantized_ms'], 2)} ms for one example, {_ratio(record)} × the float model's"
        f" {fixed(both['float_ms'], 2)} ms. Integer kernels take {_percent(shares['integer'])} of"
        f" the time, float ones {_percent(shares['float'])}, conversions"
        f" {_percent(shares['conversion'])}, changes of layout {_percent(shares['layout'])}."
    )


def _notes(record: Record) -> list[str]:
    layers = record["float_layers"]
    if not layers:
        return []
    return [f"{strings.plural(len(layers), 'layer')} with weights ran in float kernels."]


def _nodes(record: Record) -> dict[str, Any]:
    """The slowest first; bars share one scale for both files."""
    nodes = sorted(record["nodes"], key=lambda node: -node["ms"])
    slowest = max((max(n["ms"], n["float_ms"] or 0.0) for n in nodes), default=0.0) or 1.0
    largest = max((max(n["bytes"], n["float_bytes"] or 0) for n in nodes), default=0) or 1
    columns = (
        study.column("node", "name"),
        study.column("kernel", tip="what ONNX Runtime ran"),
        study.column("ran as", "mark"),
        study.column("time", "bars", "float above, quantized below", "ms"),
        study.column("size", "bars", "float above, quantized below"),
    )
    rows = [_node(node, slowest, largest) for node in nodes]
    filters = (("layer", "layers"), ("float", "float"), ("inserted", "conversions"))
    return study.table(columns, rows, filters=filters)


def _node(node: Record, slowest: float, largest: int) -> dict[str, Any]:
    before, size = node["float_ms"], node["float_bytes"]
    time = study.bars(
        f"{fixed(before, 3)} → {fixed(node['ms'], 3)}",
        ((before or 0.0) / slowest, "float"),
        (node["ms"] / slowest, "quant"),
    )
    kind = str(node["kind"])
    stored = None
    if kind != "conversion" and (size or node["bytes"]):  # counted with the layer that reads them
        stored = study.bars(
            f"{_size(size)} → {_size(node['bytes'])}",
            ((size or 0) / largest, "float"),
            (node["bytes"] / largest, "quant"),
        )
    tags = ["float"] if kind == "float" else ["inserted"] if kind != "integer" else []
    tags += ["layer"] if stored else []
    ran = study.mark(kind, COLOURS.get(kind, "warn"))
    cells = [node["name"], node["kernel"], ran, time, stored]
    return study.row(cells, tags=tags, tip=INSERTED.get(node["name"], ""))


def _ratio(record: Record) -> str:
    both = record["latency"]
    return fixed(both["quantized_ms"] / max(1e-9, both["float_ms"]), 2)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"


def _size(count: int | None) -> str:
    return strings.size(count) if count else "–"
