"""A plain HTML table, for viewers that run no widgets (a printed or archived notebook)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from workbench.views import layers


def table_html(name: str, records: Sequence[Mapping[str, Any]]) -> str:
    """The layer table as text."""
    table = layers.table(records)
    if not table["rows"]:
        return f"<p>{escape(table['message'])}</p>"
    heads = "".join(
        f"<th>{escape(m['label'])}, {escape(m['unit'])}</th>" for m in table["measures"]
    )
    rows = {row["name"]: row for row in table["rows"]}
    lines = "".join(_line(rows[key], table) for key in table["order"][table["measure"]])
    return (
        f"<table><caption>{escape(name)}: layers, worst first</caption>"
        f"<tr><th>layer</th><th>bits</th>{heads}</tr>{lines}</table>"
    )


def _line(row: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    cells = [row["cells"].get(measure["key"]) for measure in table["measures"]]
    texts = "".join(f"<td>{escape(cell['text']) if cell else '–'}</td>" for cell in cells)
    return f"<tr><td>{escape(row['name'])}</td><td>{escape(row['bits'])}</td>{texts}</tr>"
