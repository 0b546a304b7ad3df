"""A target in one line: legal bits, and what saturates; transformations: what they changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.views.numbers import number

Record = Mapping[str, Any]


def meaning(record: Record) -> str:
    """One or two sentences out of `Target.record()`."""
    active = record["activation_bits"]
    beside = f"activations {listed(active)} bits" if active else "activations stay float"
    legal = record["weight_bits"] if active else record["stored_bits"]
    parts = [f"{record['title']}: weights {listed(legal)}, {beside}"]
    if not record["zero_points"]:
        parts.append("no zero-points")
    if record["saturates"]:
        parts.append(f"{record['saturates'].partition(':')[0]} where sums could saturate")
    return "; ".join(parts) + "."


def changes(records: Sequence[Record]) -> str:
    """What transformations did to the float network, out of `FoldRecord.record()`s."""
    return " ".join(map(_change, records))


def _change(record: Record) -> str:
    name, count = str(record["name"]).capitalize(), int(record["count"])
    if not count:
        return f"{name}: none found here."
    moved = number(record.get("max_difference"))
    by = "" if moved is None else f"; float outputs move by {moved:.1g} of the largest at most"
    return f"{name}: {count}{by}."


def listed(bits: Sequence[int]) -> str:
    """`1–8` for whole ranges, else `4 or 8`."""
    whole = len(bits) > 2 and len(bits) == bits[-1] - bits[0] + 1
    return f"{bits[0]}–{bits[-1]}" if whole else " or ".join(str(width) for width in bits)
