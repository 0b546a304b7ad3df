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


def explorer(record: Record, layers: Mapping[str, str], asked: int) -> dict[str, Any]:
    """All choices of a sweep for a slider: what each costs, does, and gives to which weight.

    Args:
        record: of an `Allocation` with points.
        layers: weight -> what its layer is called, in the order of the network.
        asked: bits that the recipe has now; the choice with as many on average is shown first.

    Returns:
        `choices`, by rising average bits, each with its `bits` in the order of `weights`, numbers
        and a sentence; `weights` (name, and the harm at each width); `curve`: the picture;
        `first`: index of the choice that is shown at the beginning.
    """
    own = {name: name for name in record["chosen"]["bits"]}
    names = [name for name in {**layers, **own} if name in own]
    called = {**own, **layers}
    named = {"point": record["points"], "uniform": record["uniform"]}
    choices = [
        _offered(choice, names, f"{kind}:{index}")
        for kind, found in named.items()
        for index, choice in enumerate(found)
    ]
    choices.sort(key=lambda one: (one["average"], one["uniform"]))
    mixed = [one for one in choices if not one["uniform"]]
    return {
        "choices": choices,
        "weights": [{"name": called[n], "harm": _harms(record["sensitivities"][n])} for n in names],
        "curve": {"mixed": _curve(mixed), "uniform": _curve([c for c in choices if c["uniform"]])},
        "widths": sorted({width for one in choices for width in one["bits"]}),
        "first": min(
            range(len(choices)),
            key=lambda i: (abs(choices[i]["average"] - asked), choices[i]["uniform"]),
            default=0,
        ),
    }


def _offered(choice: Record, names: Sequence[str], key: str) -> dict[str, Any]:
    kl, costs = number(choice["kl"]), choice["costs"]
    average = float(costs["average_bits"])
    does = "KL not measured" if kl is None else f"KL {kl:.3g} nats from float"
    size = strings.size(float(costs["bytes"]))
    return {
        "key": key,
        "uniform": key.startswith("uniform"),
        "average": rounded([average], 4)[0],
        "kl": None if kl is None else rounded([kl], 4)[0],
        "bits": [int(choice["bits"][name]) for name in names],
        "sentence": f"{average:.2f} bits on average, {size} of weights: {does}",
    }


def _curve(choices: Sequence[Record]) -> list[dict[str, Any]]:
    """Places on logarithmic paper, which has none for nothing."""
    return [
        {"key": one["key"], "x": one["average"], "y": one["kl"]}
        for one in choices
        if one["kl"] is not None and one["kl"] > 0
    ]


def _harms(row: Record) -> dict[str, float]:
    return {str(width): rounded([float(harm)], 3)[0] for width, harm in row.items()}


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
