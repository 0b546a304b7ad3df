"""A coverage record as a table: what runs on integers, what in float, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]

COLUMNS = ("node", "operator", "runs", "weights", "in", "out", "MACs %", "why")
WORDS = {"integer": "integer", "float": "float", "none": "–"}
TONES = {"integer": "good", "float": "plain", "none": "dim"}


def coverage(record: Record) -> dict[str, Any]:
    """Sentence, columns and rows of `Coverage.record()`.

    Each row has `cells` in the order of `columns`, a `tone` (good, plain or dim), the node's name,
    its `group` and its `note`.
    """
    total = sum(row["macs"] for row in record["rows"]) or 1
    return {
        "sentence": sentence(record),
        "columns": list(COLUMNS),
        "rows": [_row(row, total) for row in record["rows"]],
    }


def sentence(record: Record) -> str:
    """The totals in one line."""
    return (
        f"{record['integer_nodes']} of {record['nodes']} nodes and "
        f"{100 * record['integer_macs']:.1f} % of the multiply-adds run on integers on target "
        f"'{record['target']}'; {100 * record['stored_parameters']:.1f} % of the parameters are "
        "stored as integers"
    )


def _row(row: Record, total: int) -> dict[str, Any]:
    share = f"{100 * row['macs'] / total:.1f}" if row["macs"] else "–"
    bits = [_bits(row[key]) for key in ("weight_bits", "input_bits", "output_bits")]
    shared = f"shares the scale of '{row['group']}'" if row["group"] else ""
    why = "; ".join(filter(None, (row["why"], row["note"], shared)))
    cells = [row["node"], row["op"], WORDS[row["arithmetic"]], *bits, share, why]
    return {
        "node": row["node"],
        "cells": cells,
        "tone": TONES[row["arithmetic"]],
        "group": row["group"],
        "note": row["note"],
    }


def _bits(value: int | None) -> str:
    return "–" if value is None else str(value)
