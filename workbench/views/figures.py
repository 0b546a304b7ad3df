"""The same pictures for papers: matplotlib figures, without pyplot and its global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from workbench.foundation.errors import plain
from workbench.views import layers
from workbench.views.numbers import number

Record = Mapping[str, Any]

FLOAT, QUANTIZED, INK, DIM, PALE = "#4a7fe0", "#d9660a", "#1b2430", "#5d6878", "#e8ebf0"
MOST_LINES = 40
COLUMNS, MOST_TICKS = 3, 8  # of small multiples


def layer_errors(records: Sequence[Record], ax: Axes | None = None) -> Figure:
    """Each layer's own error, for weights and input, beside theory and the total.

    Args:
        records: `LayerError` records in the order of the network.
        ax: axes to draw on; a new figure if None.
    """
    figure, ax = _axes(ax, (max(5.0, 0.32 * len(records) + 1.5), 3.4))
    x = np.arange(len(records))
    own = [_decibels(record, "alone_weights_db", "bits_weights") for record in records]
    given = [_decibels(record, "alone_activations_db", "bits_activations") for record in records]
    total = [_decibels(record, "accumulated_db", None) for record in records]
    reference = [layers.theory(int(r.get("bits_weights") or 0)) or np.nan for r in records]
    ax.plot(x, reference, ":", color=DIM, label="theory, 6.02 dB per bit")
    ax.plot(x, total, "-", color=INK, label="total")
    ax.plot(x, given, "o", mfc="none", color=QUANTIZED, label="input alone")
    ax.plot(x, own, "o", color=QUANTIZED, label="weights alone")
    ax.set_xticks(x, [short(record["layer"]) for record in records], rotation=90, fontsize=7)
    ax.set_ylabel("SQNR, dB")
    ax.legend(fontsize=7, frameon=False, ncols=2)
    return figure


def histogram(record: Record, title: str = "", ax: Axes | None = None) -> Figure:
    """Values of one site with the levels of its grid.

    Args:
        record: as `workbench.analysis.distributions` makes it.
        title: above the axes.
        ax: axes to draw on; a new figure if None.
    """
    figure, ax = _axes(ax, (5.0, 2.8))
    counts = np.asarray(record["counts"], dtype=float)
    edges = record["start"] + record["width"] * np.arange(len(counts) + 1)
    ax.stairs(counts, edges, fill=True, color=FLOAT, alpha=0.75)
    levels = _levels(record)
    if levels.size <= MOST_LINES:
        for level in levels:
            ax.axvline(level, color=QUANTIZED, linewidth=0.7, alpha=0.6)
    elif levels.size:
        ax.axvspan(levels[0], levels[-1], color=QUANTIZED, alpha=0.08)
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.8)
    ax.set_xlabel("weight / step" if record.get("unit") == "steps" else "value")
    ax.set_ylabel("count")
    ax.set_title(title, fontsize=9)
    return figure


def before_after(
    before: Sequence[Record], after: Sequence[Record], ax: Axes | None = None
) -> Figure:
    """What learning gained: each layer's total SQNR with nearest rounding and after learning."""
    figure, ax = _axes(ax, (5.0, max(2.4, 0.2 * len(after) + 0.9)))
    old = {record["layer"]: number(record.get("accumulated_db")) for record in before}
    shown = [record for record in after if old.get(record["layer"]) is not None]
    for row, record in enumerate(shown):
        start, end = old[record["layer"]], number(record.get("accumulated_db"))
        if start is None or end is None:
            continue
        ax.plot([start, end], [row, row], "-", color=DIM, linewidth=1)
        ax.plot(start, row, "o", mfc="none", color=QUANTIZED, markersize=5)
        ax.plot(end, row, "o", color=FLOAT, markersize=5)
    ax.set_yticks(range(len(shown)), [short(record["layer"]) for record in shown], fontsize=7)
    ax.invert_yaxis()
    ax.set_xlabel("total SQNR, dB (open: nearest, full: learned)")
    return figure


def pareto(view: Record, ax: Axes | None = None) -> Figure:
    """Mixed choices of bits and uniform ones, by cost and by distance to the float network.

    Args:
        view: as `workbench.views.allocation.pareto` makes it.
        ax: axes to draw on; a new figure if None.
    """
    figure, ax = _axes(ax, (5.0, 3.4))
    for key, style, colour in (("points", "o-", QUANTIZED), ("uniform", "s--", DIM)):
        places = sorted((point["x"], point["y"]) for point in view[key])
        label = "mixed" if key == "points" else "one width for all"
        ax.plot(*zip(*places, strict=True) if places else ((), ()), style, color=colour,
                markersize=4, linewidth=1, label=label)  # fmt: skip
    if view["knee"] is not None:
        knee = view["points"][view["knee"]]
        ax.plot(knee["x"], knee["y"], "o", mfc="none", color=INK, markersize=10, label="knee")
    if view["chosen"] is not None:
        ax.plot(view["chosen"]["x"], view["chosen"]["y"], "*", color=FLOAT, label="chosen")
    if view["budget"] is not None:
        ax.axvline(view["budget"], color=DIM, linewidth=0.7, linestyle=":", label="budget")
    ax.set_yscale("log")
    ax.set_xlabel(view["x"])
    ax.set_ylabel(view["y"])
    ax.legend(fontsize=7, frameon=False)
    return figure


def deltas(comparison: Record, ax: Axes | None = None) -> Figure:
    """Each layer's total SQNR in several runs, against the first of them.

    Args:
        comparison: as `workbench.session.comparing` makes it.
        ax: axes to draw on; a new figure if None.
    """
    rows = [row for row in comparison["layers"] if row["key"] == "accumulated_db"]
    figure, ax = _axes(ax, (max(5.0, 0.32 * len(rows) + 1.5), 3.4))
    x = np.arange(len(rows))
    ax.axhline(0, color=DIM, linewidth=0.8)
    for index, run in enumerate(comparison["runs"][1:], 1):
        found = [number(row["deltas"][index]) for row in rows]
        y = [np.nan if value is None else value for value in found]
        ax.plot(x, y, "-o", markersize=3, linewidth=1, label=short(run["name"]))
    ax.set_xticks(x, [short(row["layer"]) for row in rows], rotation=90, fontsize=7)
    ax.set_ylabel(f"SQNR against {short(comparison['runs'][0]['name'])}, dB", fontsize=8)
    ax.legend(fontsize=7, frameon=False)
    return figure


def front(comparison: Record, ax: Axes | None = None) -> Figure:
    """Score and size of several runs."""
    figure, ax = _axes(ax, (5.0, 3.4))
    values = {row["key"]: row["values"] for row in comparison["scores"]}
    for run, score, size in zip(comparison["runs"], values["score"], values["bytes"], strict=True):
        ax.plot(size / 1000, score, "o", color=QUANTIZED, markersize=5)
        where = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": 6}
        ax.annotate(short(run["name"]), (size / 1000, score), **where)
    ax.set_xlabel("size of the file, kB")
    first = comparison["runs"][0]
    ax.set_ylabel(f"{first['metric']} {first['unit']}".strip())
    return figure


def estimator_figure(view: Record) -> Figure:
    """Each gradient estimator: what goes forward above, the slope that goes backward below.

    All share their scales; grey is beyond the range, where a quantizer clips.

    Args:
        view: as `workbench.maths.estimators.curves.curves` makes it.
    """
    found = view["estimators"]
    columns = max(1, min(COLUMNS, len(found)))
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(2.5 * columns + 0.3, 3.1 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        2 * rows, columns, sharex=True, sharey="row", squeeze=False, height_ratios=[1.25, 1] * rows
    )
    tallest = max((max(record["slope"]) for record in found), default=1.0)
    for index in range(rows * columns):
        row, column = divmod(index, columns)
        upper, lower = axes[2 * row, column], axes[2 * row + 1, column]
        if index >= len(found):
            upper.remove()
            lower.remove()
            continue
        _forward(upper, view, found[index])
        _backward(lower, view, found[index], 1.08 * tallest)
        if column == 0:
            upper.set_ylabel("forward, x̂", fontsize=8)
            lower.set_ylabel("slope, ∂x̂/∂x", fontsize=8)
        if index + columns >= len(found):
            lower.set_xlabel("x in steps", fontsize=8)
    names = _names(figure)
    figure.legend(
        names.values(), names, loc="outside lower center", ncols=2 * columns - 1, fontsize=7,
        frameon=False,
    )  # fmt: skip
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as the suffix says: SVG, PNG or PDF."""
    path = Path(path)
    figure.savefig(path, dpi=144)
    return path


def short(name: object) -> str:
    """Names without `$`, which would start a formula, and not longer than a label can be."""
    text = plain(str(name)).replace("$", r"\$")
    return text if len(text) <= 28 else f"{text[:12]}…{text[-14:]}"


def _forward(ax: Axes, view: Record, record: Record) -> None:
    _range(ax, view)
    ax.plot(view["x"], view["forward"], color=INK, linewidth=1.4, label="forward")
    if record["soft"] is not None:
        ax.plot(view["x"], record["soft"], "--", color=FLOAT, linewidth=1.1, label="soft function")
    ax.set_title(record["name"], loc="left", fontsize=9, fontweight="bold")
    ax.set_title(_chosen(record), loc="right", fontsize=7, color=DIM)
    ax.set_ylim(view["x"][0], view["x"][-1])
    ax.set_yticks(_ticks(view))


def _backward(ax: Axes, view: Record, record: Record, top: float) -> None:
    _range(ax, view)
    x, slope = view["x"], record["slope"]
    ax.axhline(1, color=DIM, linewidth=0.6, linestyle=":", label="straight-through")
    ax.fill_between(x, slope, color=QUANTIZED, alpha=0.15, linewidth=0)
    if record["slope_negative"] is not None:
        label = "slope for a negative gradient"
        ax.plot(x, record["slope_negative"], color=FLOAT, linewidth=1.1, label=label)
    ax.plot(x, slope, color=QUANTIZED, linewidth=1.3, label="slope")
    ax.set_ylim(0, top)
    ax.tick_params(labelbottom=True)


def _range(ax: Axes, view: Record) -> None:
    """Grey beyond the range, and ticks at levels."""
    x, low, high = view["x"], view["low"], view["high"]
    for start, end in ((x[0], low), (high, x[-1])):
        ax.axvspan(start, end, color=PALE, linewidth=0)
    ax.set_xlim(x[0], x[-1])
    ax.set_xticks(_ticks(view))
    ax.tick_params(labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)


def _ticks(view: Record) -> range:
    """The levels, or some of them."""
    return range(view["low"], view["high"] + 1, 1 + (view["high"] - view["low"]) // MOST_TICKS)


def _chosen(record: Record) -> str:
    """The options, with the default of those that are drawn with another value."""
    texts = []
    for name, value in record["options"].items():
        usual = record["defaults"][name]
        texts.append(f"{name} = {value:g}" + (f" (default {usual:g})" if usual != value else ""))
    return ", ".join(texts)


def _names(figure: Figure) -> dict[str, Any]:
    """One line of each name, over all axes."""
    found = [ax.get_legend_handles_labels() for ax in figure.axes]
    return {name: line for lines, names in found for line, name in zip(lines, names, strict=True)}


def _axes(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    if ax is not None:
        found = ax.get_figure()
        assert isinstance(found, Figure)
        return found, ax
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _decibels(record: Record, key: str, bits: str | None) -> float:
    value = number(record.get(key))
    return np.nan if value is None or (bits and not record.get(bits)) else value


def _levels(record: Record) -> np.ndarray:
    grid = record.get("grid")
    if grid is None:
        return np.empty(0)
    codes = np.arange(grid["qmin"], grid["qmax"] + 1)
    return (codes - record["zero_point"]) * record["scale"]
