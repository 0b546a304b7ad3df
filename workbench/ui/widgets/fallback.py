"""Plain HTML for viewers that run no widgets (a printed or archived notebook)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from workbench.lessons.sitting import Sitting
from workbench.views import layers, lesson
from workbench.views.still import panel_svg


def with_html(bundle: Any, html: str) -> Any:
    """What a widget shows as, with `html` for viewers that run none."""
    text = {"text/html": html}
    if isinstance(bundle, tuple):
        data, metadata = bundle
        return {**data, **text}, metadata
    return {**(bundle or {}), **text}


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


def demo_html(sitting: Sitting) -> str:
    """A demo as it stands: question, panels as SVG, readings, and what was said about them."""
    view = lesson.view(sitting)
    asked = view["question"]
    answers = "".join(f"<li>{escape(choice)}</li>" for choice in asked["choices"])
    told = f"<p><b>Answer: {escape(asked['answer'])}</b></p>" if asked["answered"] else ""
    pictures = "".join(panel_svg(panel) for panel in view["panels"])
    rows = "".join(
        f"<tr><td>{escape(each['label'])}</td><td>{escape(each['text'])} {escape(each['unit'])}"
        f"</td><td>{escape(each['reference'])}</td></tr>"
        for each in view["readings"]
    )
    why = "".join(f"<p>{escape(text)}</p>" for text in view["explanation"])
    return (
        f"<h3>{escape(view['title'])}</h3><p>{escape(asked['text'])}</p><ul>{answers}</ul>{told}"
        f"<div>{pictures}</div><table>{rows}</table>{why}<p><small>{escape(view['citation'])}"
        "</small></p>"
    )


def _line(row: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    cells = [row["cells"].get(measure["key"]) for measure in table["measures"]]
    texts = "".join(f"<td>{escape(cell['text']) if cell else '–'}</td>" for cell in cells)
    return f"<tr><td>{escape(row['name'])}</td><td>{escape(row['bits'])}</td>{texts}</tr>"
