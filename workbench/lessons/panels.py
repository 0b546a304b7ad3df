"""What a demo shows, as plain records of a few kinds; `workbench/views/js/lesson.js` draws them.

Numbers are finite floats; None in a line is a gap. A `tone` is a role and not a colour: "float"
(as it was), "quant" (on the grid), "good", "bad", "dim", "ink", or "run-0" to "run-7" for lines
that are compared. A part that can be clicked says in `sets` which option the click changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

Tone = str
Numbers = tuple[float | None, ...]
DIGITS = 6


def numbers(values: Tensor | Iterable[float | None]) -> Numbers:
    """Finite floats of six digits, for JSON; what is not finite becomes a gap."""
    found = values.detach().double().flatten().tolist() if isinstance(values, Tensor) else values
    return tuple(
        None if value is None or not math.isfinite(value) else float(f"{value:.{DIGITS}g}")
        for value in found
    )


@dataclass(frozen=True)
class Axis:
    """An axis: words, and ends that are found from the data where None."""

    label: str
    unit: str = ""
    log: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """One line. Styles: "line", "step" (a staircase), "dots" (a scatter), "area", "dashed"."""

    label: str
    x: Numbers
    y: Numbers
    tone: Tone = "float"
    style: Literal["line", "step", "dots", "area", "dashed"] = "line"


@dataclass(frozen=True)
class Band:
    """The room between two lines."""

    x: Numbers
    low: Numbers
    high: Numbers
    tone: Tone = "float"
    label: str = ""


@dataclass(frozen=True)
class Mark:
    """A straight line across a panel at one place of an axis; with `sets` it can be dragged."""

    at: float
    label: str = ""
    axis: Literal["x", "y"] = "x"
    tone: Tone = "ink"
    sets: str = ""


class Panel:
    """Base of all panels.

    Every panel has a `title`, a `note` below it, and `veiled`: not shown before the guess.
    """

    kind: ClassVar[str]

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class Lines(Panel):
    """Lines, dots and bands over an axis."""

    kind: ClassVar[str] = "lines"
    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    bands: tuple[Band, ...] = ()
    marks: tuple[Mark, ...] = ()
    note: str = ""
    veiled: bool = True


@dataclass(frozen=True)
class Bars(Panel):
    """Bars over names, or a histogram over edges.

    Attributes:
        names: of the bars; or edges: one more than bars, on the x axis.
        groups: (label, tone, heights) of what is side by side, or lies over each other in a
            histogram.
        sets: the option that takes the number of the clicked bar, or the set of whole numbers in
            which a click puts it, or from which it takes it.
        chosen: numbers of bars with a frame.
    """

    kind: ClassVar[str] = "bars"
    title: str
    x: Axis
    y: Axis
    groups: tuple[tuple[str, Tone, Numbers], ...]
    names: tuple[str, ...] = ()
    edges: Numbers = ()
    marks: tuple[Mark, ...] = ()
    sets: str = ""
    chosen: tuple[int, ...] = ()
    note: str = ""
    veiled: bool = True


@dataclass(frozen=True)
class Cells(Panel):
    """A matrix whose cells are coloured by value and can be clicked.

    Attributes:
        values: rows of numbers; texts: what stands in the cells, empty for nothing.
        low, high: ends of the colours; around zero both directions differ if `low` is below it.
        chosen: (row, column) of cells with a frame.
        sets: the option, a set of whole numbers, in which a click puts row * columns + column, or
            from which it takes it.
        one_per_row: a click takes what else was chosen in its row out of the set.
    """

    kind: ClassVar[str] = "cells"
    title: str
    values: tuple[Numbers, ...]
    low: float
    high: float
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    texts: tuple[tuple[str, ...], ...] = ()
    chosen: tuple[tuple[int, int], ...] = ()
    sets: str = ""
    one_per_row: bool = False
    note: str = ""
    veiled: bool = True


@dataclass(frozen=True)
class Level:
    """A level of a number line: its value, its code, and how many values lie on it."""

    at: float
    code: str = ""
    used: bool = True


@dataclass(frozen=True)
class Dot:
    """A value on a number line, and the level it goes to."""

    at: float
    to: float | None = None
    label: str = ""
    tone: Tone = "float"


@dataclass(frozen=True)
class NumberLine(Panel):
    """Levels on a line with values above it; a click sets the option `sets` to a value."""

    kind: ClassVar[str] = "levels"
    title: str
    axis: Axis
    levels: tuple[Level, ...]
    dots: tuple[Dot, ...] = ()
    marks: tuple[Mark, ...] = ()
    sets: str = ""
    note: str = ""
    veiled: bool = False


@dataclass(frozen=True)
class Table(Panel):
    """A small table; the first column is text, the others are set like numbers."""

    kind: ClassVar[str] = "table"
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    tones: tuple[Tone, ...] = ()
    note: str = ""
    veiled: bool = True


@dataclass(frozen=True)
class Reading:
    """One number of the scene.

    Attributes:
        reference: what it is to be compared with, in words.
        veiled: not shown before the guess.
    """

    label: str
    value: float | int | str
    unit: str = ""
    reference: str = ""
    tone: Tone = "ink"
    veiled: bool = True

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Scene:
    """Everything a demo shows; the first reading is the number that its code reproduces."""

    panels: Sequence[Panel]
    readings: Sequence[Reading]
