"""The same pictures for papers: matplotlib figures, without pyplot and its global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from workbench.views import layers
from workbench.views.numbers import number

Record = Mapping[str, Any]

FLOAT, QUANTIZED, INK, DIM = "#4a7fe0", "#d9660a", "#1b2430", "#5d6878"
MOST_LINES = 40


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
    ax.set_xticks(x, [_short(record["layer"]) for record in records], rotation=90, fontsize=7)
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
    ax.set_yticks(range(len(shown)), [_short(record["layer"]) for record in shown], fontsize=7)
    ax.invert_yaxis()
    ax.set_xlabel("total SQNR, dB (open: nearest, full: learned)")
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as the suffix says: SVG, PNG or PDF."""
    path = Path(path)
    figure.savefig(path, dpi=144)
    return path


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


def _short(name: object) -> str:
    """Names without `$`, which would start a formula, and not longer than a label can be."""
    text = str(name).replace("$", r"\$")
    return text if len(text) <= 28 else f"{text[:12]}…{text[-14:]}"
