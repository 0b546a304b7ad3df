"""Plain HTML for viewers that run no widgets (a printed or archived notebook)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from workbench.lessons.panels import Axis, Bars, Lines, Mark, Series, Table, numbers
from workbench.lessons.sitting import Sitting
from workbench.views import layers, lesson
from workbench.views.still import panel_svg

BARS = 96  # of a histogram
MOST_LINES = 12  # of one picture


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


def signals_html(view: Mapping[str, Any]) -> str:
    """What a run learned: how far it is, concerns, and the error of each unit as a curve."""
    words = [view["title"], view["status"], view["message"], *(c["text"] for c in view["concerns"])]
    drawn = tuple(
        Series(unit["name"], numbers(xs), numbers(ys), f"run-{index % 8}")
        for index, unit in enumerate(view["units"])
        for xs, ys in [_falling(unit)]
        if len(xs) > 1
    )[:MOST_LINES]
    axes = Axis("report"), Axis("error", log=True)
    panel = Lines("Error while it is learned from", *axes, drawn)
    picture = panel_svg(panel.record()) if drawn else ""
    return "".join(f"<p>{escape(word)}</p>" for word in words if word) + picture


def histogram_html(view: Mapping[str, Any], words: str) -> str:
    """A histogram with the ends of its grid."""
    if "counts" not in view:
        return f"<p>{escape(view['message'])}</p>"
    low, high = view["view"]
    width = (view["high"] - view["low"]) / len(view["counts"])
    counts, edges = [0.0] * BARS, [low + (high - low) * k / BARS for k in range(BARS + 1)]
    for index, count in enumerate(view["counts"]):
        place = (view["low"] + (index + 0.5) * width - low) / (high - low)
        if 0 <= place < 1:
            counts[int(BARS * place)] += count
    marks: tuple[Mark, ...] = ()
    if view["grid"]:
        ends = (view["grid"]["qmin"], view["grid"]["qmax"])
        marks = tuple(Mark((end - view["zero"]) * view["scale"], tone="quant") for end in ends)
    unit = "weight in steps" if view["unit"] == "steps" else "weight"
    panel = Bars(
        f"{view['title']}, {view['detail']}",
        Axis(unit),
        Axis("count"),
        (("values", "float", numbers(counts)),),
        edges=numbers(edges),
        marks=marks,
    )
    return f"<p>{escape(words)}</p>{panel_svg(panel.record())}"


def pareto_html(view: Mapping[str, Any], chosen: str) -> str:
    """Choices of bits by cost and harm, and the chosen one's sentence."""
    if "choices" not in view:
        return f"<p>{escape(view['message'])}</p>"
    drawn = tuple(
        Series(
            name,
            numbers(point["x"] for point in view["curve"][key]),
            numbers(point["y"] for point in view["curve"][key]),
            tone,
            "dots",
        )
        for key, name, tone in (("mixed", "mixed", "quant"), ("uniform", "one width", "float"))
    )
    x = Axis("bits of each weight on average")
    panel = Lines(view["title"], x, Axis("KL divergence to float", "nats", log=True), drawn)
    said = next(each["sentence"] for each in view["choices"] if each["key"] == chosen)
    return f"{panel_svg(panel.record())}<p>{escape(said)}</p>"


def tuning_html(view: Mapping[str, Any]) -> str:
    """What each layer is asked for, and what it loses."""
    heads = ("layer", "bits", "rounding", "range", "SQNR dB", "gain dB")
    rows = [
        (
            row["layer"],
            str(row["bits"]),
            row["method"] or "as the recipe",
            f"{row['calibrator']}, {row['share']:.0%}" if row["ranged"] else "",
            row["sqnr"],
            row["gain"],
        )
        for row in view["rows"]
    ]
    return panel_svg(Table(view["sentence"], heads, tuple(rows)).record())


def survey_html(view: Mapping[str, Any]) -> str:
    """Stages and signals with what fills them, and the adviser's answer."""
    columns = ("", *(signal["label"] for signal in view["signals"]))
    rows = tuple(
        (stage["label"], *(_filled(view, f"{stage['key']}/{s['key']}") for s in view["signals"]))
        for stage in view["stages"]
    )
    title = "Where a method acts, and what teaches it (in brackets: in the literature only)"
    table = panel_svg(Table(title, columns, rows).record())
    advice = view["advice"]
    words = [advice["sentence"], *advice["reasons"], *advice["cautions"]]
    said = "".join(f"<p>{escape(word)}</p>" for word in words)
    return f"{table}{said}<pre>{escape(advice['recipe'])}</pre>"


def _filled(view: Mapping[str, Any], key: str) -> str:
    cell = view["cells"].get(key)
    if cell is None:
        return ""
    return ", ".join(cell["ours"]) or f"({cell['published']})"


def part_html(part: Mapping[str, Any]) -> str:
    """A part of a view: what was found, and its tables."""
    words = [part["sentence"], *part["notes"], part["message"]]
    found = "".join(f"<p>{escape(word)}</p>" for word in words if word)
    return found + "".join(map(_study_table, part["tables"]))


def _study_table(table: Mapping[str, Any]) -> str:
    heads = "".join(
        f"<th>{escape(' '.join(filter(None, (c['group'], c['label'], c['unit']))))}</th>"
        for c in table["columns"]
    )
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(_words(cell))}</td>' for cell in row['cells'])}</tr>"
        for row in table["rows"]
    )
    return f"<table><caption>{escape(table['title'])}</caption><tr>{heads}</tr>{rows}</table>"


def _words(cell: Any) -> str:
    """What a cell says; nothing where it is a button."""
    if isinstance(cell, Mapping):
        return str(cell.get("text", ""))
    return "" if cell is None else str(cell)


def _falling(unit: Mapping[str, Any]) -> tuple[list[int], list[float]]:
    """The error that a unit learns from, report by report."""
    series = unit["series"]
    values = series.get("reconstruction") or series.get("loss") or ()
    known = [(at, v) for at, v in zip(unit["at"], values, strict=False) if v is not None]
    return [at for at, _ in known], [value for _, value in known]
