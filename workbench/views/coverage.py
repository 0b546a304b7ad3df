"""A coverage record as a table: what runs on integers, what in float, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.views import study

Record = Mapping[str, Any]

COLUMNS = ("node", "operator", "runs", "weights", "in", "out", "MACs %", "why")
WORDS = {"integer": "integer", "float": "float", "none": "–"}
TONES = {"integer": "good", "float": "plain", "none": "dim"}

COLOURS = {"integer": "quant", "float": "float", "none": "dim"}


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


def part(record: Record, recipe: str) -> dict[str, Any]:
    """The same for the export view: totals, and a table that can be cut down to the float nodes.

    Args:
        recipe: the recipe it is about, in a few words.
    """
    most = max((row["macs"] for row in record["rows"]), default=0) or 1
    seen = coverage(record)["rows"]
    rows = [_drawn(row, shown, most) for row, shown in zip(record["rows"], seen, strict=True)]
    columns = (
        study.column("node", "name"),
        study.column("operator"),
        study.column("runs on", "mark"),
        study.column("bits", tip="weights · input · output"),
        study.column("MACs", "bars", "share of all multiply-adds"),
        study.column("why", "note"),
    )
    filters = (("float", "float only"), ("note", "with a remark"))
    table = study.table(columns, rows, filters=filters)
    return study.part(f"{recipe}: {sentence(record)}.", tables=[table])


def status(record: Record) -> str:
    """In a few words."""
    return f"{record['integer_nodes']} of {record['nodes']} nodes on integers"


def sentence(record: Record) -> str:
    """The totals in one line."""
    return (
        f"{record['integer_nodes']} of {record['nodes']} nodes and "
        f"{100 * record['integer_macs']:.1f} % of the multiply-adds run on integers on target "
        f"'{record['target']}'; {100 * record['stored_parameters']:.1f} % of the parameters are "
        "stored as integers"
    )


def _drawn(row: Record, shown: Record, most: int) -> dict[str, Any]:
    """A row of the export view; the longest bar is the node with the most multiply-adds."""
    cells = shown["cells"]
    colour = COLOURS[row["arithmetic"]]
    share = study.bars(f"{cells[6]} %", (row["macs"] / most, colour)) if row["macs"] else None
    bits = " · ".join(cells[3:6])
    tags = [
        *(["float"] if row["arithmetic"] == "float" else []),
        *(["note"] if row["note"] else []),
    ]
    drawn = [*cells[:2], study.mark(cells[2], colour), bits, share, cells[7]]
    return study.row(drawn, shown["tone"], tags, cells[7])


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
