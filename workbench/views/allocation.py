"""Which weight got how many bits: the curve of cost against harm, and a table by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.views import strings, study
from workbench.views.numbers import number, rounded

Record = Mapping[str, Any]

#: resource -> axis label, and how many of the stored unit make one of the axis
AXES = {
    "average_bits": ("bits of each weight on average", 1.0),
    "bytes": ("size of the weights, kB", 1e3),
    "file_bytes": ("size of the weights in the file, kB", 1e3),
    "bops": ("million bit operations", 1.0),
    "latency_ms": ("ms in ONNX Runtime's kernels", 1.0),
}


def pareto(record: Record) -> dict[str, Any]:
    """The picture: choices by cost (x) and measured KL divergence to float (y, logarithmic).

    Args:
        record: of an `Allocation`.

    Returns:
        `x` and `y` labels; `points` (the sweep), `uniform` and `chosen`, each point with x, y and a
        label; `knee` as an index into the points, or None; `budget` on the x axis, or None.
        Choices without a finite KL above zero have no place on the axis and are left out.
    """
    resource = str(record["resource"])
    label, unit = AXES[resource]
    points = [_place(choice, resource, unit) for choice in record["points"]]
    knee = record["knee"]
    bent = None if knee is None else points[knee]
    drawn = [point for point in points if point is not None]
    limit = number(record["budgets"].get(resource))
    return {
        "x": label,
        "y": "KL divergence to float, nats",
        "points": drawn,
        "knee": None if bent is None else drawn.index(bent),
        "uniform": [p for c in record["uniform"] if (p := _place(c, resource, unit)) is not None],
        "chosen": _place(record["chosen"], resource, unit),
        "budget": None if limit is None else limit / unit,
    }


def part(record: Record) -> dict[str, Any]:
    """The part of the view with the bits of each weight, most sensitive first."""
    bits, harms = record["chosen"]["bits"], record["sensitivities"]
    most = max(bits.values(), default=1)
    names = sorted(bits, key=lambda name: -_harm(harms[name], bits[name]))
    columns = (
        study.column("weight", "name"),
        study.column("bits", "bars"),
        study.column("harm", "number", "increase of the KL divergence, this weight alone", "nats"),
    )
    rows = [
        study.row(
            [
                name,
                study.bars(str(bits[name]), (bits[name] / most, "quant")),
                f"{_harm(harms[name], bits[name]):.2g}",
            ]
        )
        for name in names
    ]
    notes = [note for note in (record["note"],) if note]
    return study.part(_sentence(bits), notes=notes, tables=[study.table(columns, rows)])


def _sentence(bits: Mapping[str, int]) -> str:
    by_bits: dict[int, int] = {}
    for width in bits.values():
        by_bits[width] = by_bits.get(width, 0) + 1
    counts = (f"{strings.plural(by_bits[b], 'weight')} of {b} bits" for b in sorted(by_bits))
    return ", ".join(counts)


def _harm(row: Mapping[Any, float], bits: int) -> float:
    """Also after JSON has made texts of the bits."""
    return float(row[bits] if bits in row else row[str(bits)])


def _place(choice: Record, resource: str, unit: float) -> dict[str, Any] | None:
    y = number(choice["kl"])
    if y is None or y <= 0:
        return None
    x, y = _pair((choice["costs"][resource] / unit, y))
    return {"x": x, "y": y, "label": choice["name"]}


def _pair(values: Sequence[float]) -> tuple[float, float]:
    first, second = rounded(values)
    return first, second
