"""The layer table: one row per layer, worst first, each number beside what theory allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from workbench.views import strings
from workbench.views.numbers import fixed, number

Record = Mapping[str, Any]

DB_PER_BIT = 6.02
FAR_BELOW = 12.0  # this many dB below the reference is drawn fully hot
HEADROOM = 1.4  # a full bar is this much above the usual reference
MILLI = 1000.0
KEYS = {
    "weights": "alone_weights_db",
    "activations": "alone_activations_db",
    "accumulated": "accumulated_db",
    "damage": "damage_kl",
}
BITS = {"weights": "bits_weights", "activations": "bits_activations"}
FEET = {"damage": strings.FOOT_DAMAGE, "accumulated": strings.FOOT_ACCUMULATED}


def table(
    records: Sequence[Record], *, measure: str = "weights", selected: str | None = None
) -> dict[str, Any]:
    """The view-model of the table.

    Args:
        records: `LayerError` records.
        measure: what the bars show first.
        selected: name of the selected layer; the worst one if None or unknown.
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
        "feet": {key: FEET.get(key, strings.FOOT_THEORY) for key in order},
    }


def worst(records: Sequence[Record], measure: str = "weights") -> str | None:
    """Name of the layer that stands first in the table."""
    order = _order(records, measure)
    return order[0] if order else None


def theory(bits: int) -> float | None:
    """SQNR in dB of a uniform signal on a grid of `bits` bits; None for float."""
    return DB_PER_BIT * bits if bits else None


def _value(record: Record, key: str) -> float | None:
    value = number(record.get(KEYS[key]))
    if key in BITS and not record.get(BITS[key]):
        return None
    return None if value is None else value * (MILLI if key == "damage" else 1.0)


def _order(records: Sequence[Record], key: str) -> list[str]:
    """Names, worst first; layers without a number come last."""

    def rank(record: Record) -> tuple[bool, float]:
        value = _value(record, key)
        if value is None:
            return (True, 0.0)
        return (False, -value if key == "damage" else value)

    return [str(record["layer"]) for record in sorted(records, key=rank)]


def _column(records: Sequence[Record], key: str) -> list[dict[str, Any] | None]:
    """The cell of each record for one measure; None where there is nothing to show."""
    values = [_value(record, key) for record in records]
    references = [theory(record.get(BITS[key], 0)) if key in BITS else None for record in records]
    top = _top(values, references)
    return [
        None if value is None else _cell(key, value, reference, top)
        for value, reference in zip(values, references, strict=True)
    ]


def _top(values: Sequence[float | None], references: Sequence[float | None]) -> float:
    """Value of a full bar; a few layers with many bits do not flatten all others."""
    known = [v for v in (*values, *references) if v is not None]
    theories = [v for v in references if v is not None]
    top = max([*known, 1e-9])
    return min(top, HEADROOM * median(theories)) if theories else top


def _cell(key: str, value: float, reference: float | None, top: float) -> dict[str, Any]:
    share = min(1.0, max(0.0, value / top))
    if key == "damage":
        heat, spoken = share, f"damage {fixed(value, 2)} millinats"
    else:
        expected = top if reference is None else reference
        heat = min(1.0, max(0.0, (expected - value) / FAR_BELOW))
        against = f", theory {fixed(reference)}" if reference is not None else ""
        spoken = f"{fixed(value)} decibels{against}"
    return {
        "text": fixed(value, 2 if key == "damage" and value < 10 else 1),
        "fraction": round(share, 4),
        "reference": None if reference is None or reference > top else round(reference / top, 4),
        "heat": round(heat, 3),
        "spoken": spoken,
    }


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
    return float(record.get("parameters") or 0) * (int(record.get("bits_weights") or 0) or 32) / 8
