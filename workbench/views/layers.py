"""The layer table: one row per layer, worst first, each number beside what theory allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from workbench.views import strings
from workbench.views.numbers import fixed, number

Record = Mapping[str, Any]

DB_PER_BIT = 6.02
FLOAT_BITS = 32
FAR_BELOW = 12.0  # this many dB below the reference is drawn fully hot
HEADROOM = 1.4  # a full bar is this much above the usual reference
MILLI = 1000.0
KEYS = {
    "damage": "damage_kl",
    "gain": "gain_kl",
    "weights": "alone_weights_db",
    "activations": "alone_activations_db",
    "accumulated": "accumulated_db",
    "bits": "bits_weights",
    "bytes": "parameters",
    "macs": "macs",
    "bops": "macs",
    "latency": "latency_ms",
}
BITS = {"weights": "bits_weights", "activations": "bits_activations"}
LARGE_FIRST = ("damage", "gain", "bytes", "macs", "bops", "latency")
DIVERGENCES = ("damage", "gain")
MOST_BITS = 8  # more of them are drawn as many
FEET = {
    "damage": strings.FOOT_DAMAGE,
    "gain": strings.FOOT_GAIN,
    "accumulated": strings.FOOT_ACCUMULATED,
    "bits": strings.FOOT_BITS,
    "bytes": strings.FOOT_BYTES,
    "macs": strings.FOOT_MACS,
    "bops": strings.FOOT_BOPS,
    "latency": strings.FOOT_LATENCY,
}
AMOUNTS = {"macs": 1e-6, "bops": 1e-6, "latency": 1.0}


def table(
    records: Sequence[Record],
    *,
    measure: str = "weights",
    selected: str | None = None,
    progress: Record | None = None,
    action: Record | None = None,
    form: str | None = None,
    graph: Record | None = None,
) -> dict[str, Any]:
    """The view-model of the table, and of the drawing that may be shown in its place.

    Args:
        records: `LayerError` records.
        measure: what the bars show first.
        selected: name of the selected layer; the worst one if None or unknown.
        progress: `{"text", "fraction"}` of what is being measured.
        action: a button below, from `views.study.action`, where something is only estimated.
        form: "table" or "graph", where both can be chosen.
        graph: of `views.drawing`; None where it is not shown, or cannot be drawn.
    """
    if not records:
        return {"rows": None, "message": strings.NO_LAYERS}
    keys = [key for key in KEYS if any(_value(record, key) is not None for record in records)]
    measure = measure if measure in keys else next(iter(keys), "weights")
    columns = {key: _column(records, key) for key in keys}
    rows = [_row(index, record, columns) for index, record in enumerate(records)]
    order = {key: _order(records, key) for key in keys} or {measure: [r["name"] for r in rows]}
    names = {row["name"] for row in rows}
    return {
        "rows": rows,
        "measures": [{"key": key, **strings.MEASURES[key]} for key in order],
        "measure": measure,
        "order": order,
        "selected": selected if selected in names else order[measure][0],
        "network": [row["name"] for row in rows],
        "feet": {key: _foot(records, key) for key in order},
        "progress": dict(progress) if progress else None,
        "action": dict(action) if action else None,
        "estimated": [key for key in order if _estimated(records, key)],
        "forms": None if form is None else {"form": form, "message": strings.NO_GRAPH},
        "graph": None if graph is None else dict(graph),
    }


def with_latency(records: Sequence[Record], times: Record | None) -> list[dict[str, Any]]:
    """Records of layers with the time that each took, where nodes were timed.

    Args:
        records: `LayerError` records; times: of a `Profile`, or None.
    """
    known = {node["name"]: number(node.get("ms")) for node in (times or {}).get("nodes", ())}
    return [{**each, "latency_ms": known.get(each["layer"])} for each in records]


def bars(records: Sequence[Record], measure: str) -> list[dict[str, Any] | None]:
    """The cells of one measure in the order of the network; None where there is nothing."""
    return _column(records, measure)


def _foot(records: Sequence[Record], key: str) -> str:
    foot = FEET.get(key, strings.FOOT_THEORY)
    return f"{foot} {strings.FOOT_ESTIMATED}" if _estimated(records, key) else foot


def _estimated(records: Sequence[Record], key: str) -> bool:
    return any(key in (record.get("estimated") or ()) for record in records)


def worst(records: Sequence[Record], measure: str = "weights") -> str | None:
    """Name of the layer that stands first in the table."""
    order = _order(records, measure)
    return order[0] if order else None


def theory(bits: int) -> float | None:
    """SQNR in dB of a uniform signal on a grid of `bits` bits; None for float."""
    return DB_PER_BIT * bits if bits else None


def _value(record: Record, key: str) -> float | None:
    value = number(record.get(KEYS[key]))
    if value is None or (key in BITS and not record.get(BITS[key])):
        return None
    if key == "bytes":
        return stored_bytes(record)
    if key == "bits":
        return value or FLOAT_BITS
    if key == "bops":
        return value * _bits(record, "bits_weights") * _bits(record, "bits_activations")
    return value * (MILLI if key in DIVERGENCES else 1.0)


def _bits(record: Record, key: str) -> int:
    """Bits of a layer's weights or input; those of a float where it is one."""
    return int(record.get(key) or 0) or FLOAT_BITS


def _order(records: Sequence[Record], key: str) -> list[str]:
    """Names, worst first; layers without a number come last."""

    def rank(record: Record) -> tuple[bool, float]:
        value = _value(record, key)
        if value is None:
            return (True, 0.0)
        return (False, -value if key in LARGE_FIRST else value)

    return [str(record["layer"]) for record in sorted(records, key=rank)]


def _column(records: Sequence[Record], key: str) -> list[dict[str, Any] | None]:
    """The cell of each record for one measure; None where there is nothing to show."""
    values = [_value(record, key) for record in records]
    references = [theory(record.get(BITS[key], 0)) if key in BITS else None for record in records]
    top = _top(values, references)
    return [
        None if value is None else _cell(key, value, reference, top, _estimated([record], key))
        for record, value, reference in zip(records, values, references, strict=True)
    ]


def _top(values: Sequence[float | None], references: Sequence[float | None]) -> float:
    """Value of a full bar; a few layers with many bits do not flatten all others."""
    known = [v for v in (*values, *references) if v is not None]
    theories = [v for v in references if v is not None]
    top = max([*known, 1e-9])
    return min(top, HEADROOM * median(theories)) if theories else top


def _cell(
    key: str, value: float, reference: float | None, top: float, estimated: bool
) -> dict[str, Any]:
    share = min(1.0, max(0.0, value / top))
    if key in LARGE_FIRST:
        heat = share
    elif key == "bits":
        share = min(1.0, value / MOST_BITS)
        heat = 1 - share
    else:
        expected = top if reference is None else reference
        heat = min(1.0, max(0.0, (expected - value) / FAR_BELOW))
    text, spoken = _words(key, value, reference, estimated)
    return {
        "text": text,
        "fraction": round(share, 4),
        "reference": None if reference is None or reference > top else round(reference / top, 4),
        "heat": round(heat, 3),
        "spoken": spoken,
    }


def _words(key: str, value: float, reference: float | None, estimated: bool) -> tuple[str, str]:
    """A value for the table, and for screen readers."""
    if key in DIVERGENCES:
        text = f"{'~' if estimated else ''}{fixed(value, 2 if value < 10 else 1)}"
        guessed = ", estimated" if estimated else ""
        return text, f"{key} {fixed(value, 2)} millinats{guessed}"
    if key == "bytes":
        return strings.size(value), strings.size(value)
    if key == "bits":
        name = strings.bits(int(value) % FLOAT_BITS)
        return name.removesuffix(" bit"), name
    if key in AMOUNTS:
        unit = strings.MEASURES[key]["unit"]
        text = (
            f"{value * AMOUNTS[key]:.3g}"
            if value < 1e3 / AMOUNTS[key]
            else f"{value * AMOUNTS[key]:,.0f}"
        )
        return text, f"{text} {unit}"
    against = f", theory {fixed(reference)}" if reference is not None else ""
    return fixed(value), f"{fixed(value)} decibels{against}"


def _row(
    index: int, record: Record, columns: Mapping[str, Sequence[dict[str, Any] | None]]
) -> dict[str, Any]:
    weights, activations = (
        int(record.get("bits_weights") or 0),
        int(record.get("bits_activations") or 0),
    )
    return {
        "id": f"wb-layer-{index}",
        "name": str(record["layer"]),
        "op": str(record.get("op", "")),
        "tag": _tag(record),
        "bits": strings.bits_short(weights, activations),
        "bits_long": strings.bits_long(weights, activations),
        "tip": facts(record),
        "cells": {key: cells[index] for key, cells in columns.items()},
    }


def _tag(record: Record) -> str:
    """Depthwise convolutions are told apart where the name does not: they are the hard ones."""
    op, shape = str(record.get("op", "")), tuple(record.get("shape") or ())
    depthwise = op == "Conv" and len(shape) > 2 and shape[1] == 1 and shape[0] > 1
    return "dw" if depthwise and "depthwise" not in str(record["layer"]) else ""


def facts(record: Record) -> str:
    """One line about a layer: operator, shape, bits, bytes, MACs."""
    weights, activations = (
        int(record.get("bits_weights") or 0),
        int(record.get("bits_activations") or 0),
    )
    parts = [str(record.get("op", ""))]
    shape = [str(side) for side in record.get("shape") or []]
    if shape:
        parts.append("×".join(shape))
    parts.append(f"W{weights or ' float'} A{activations or ' float'}")
    if record.get("parameters"):
        parts.append(strings.size(stored_bytes(record)))
    if record.get("macs"):
        parts.append(f"{record['macs'] / 1e6:,.2f} M MACs")
    return " · ".join(part for part in parts if part)


def stored_bytes(record: Record) -> float:
    """Bytes of the layer's weights at its bits (float: 4 bytes each)."""
    return (
        float(record.get("parameters") or 0)
        * (int(record.get("bits_weights") or 0) or FLOAT_BITS)
        / 8
    )
