"""The whole model on one page: what it is made of, what its layers cost, where to look first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.views import inspector, layers, strings
from workbench.views.numbers import fixed, number

Record = Mapping[str, Any]

FIRST = 5  # layers that are named
MILLION = 1e6


def overview(
    report: Record, records: Sequence[Record], measure: str, before: Sequence[Record] = ()
) -> dict[str, Any]:
    """The view-model of the model's summary.

    Args:
        report: of the run on screen; records: `LayerError` records of all layers.
        measure: what the layers are coloured by; before: records of nearest rounding.
    """
    table = layers.table(records, measure=measure)
    rows = {row["name"]: row for row in table.get("rows") or ()}
    shown = table.get("measure", measure)
    order = table["order"][shown][:FIRST] if rows else []
    return {
        "title": strings.OVERVIEW_TITLE,
        "facts": _facts(report, records),
        "kinds": {"title": strings.OVERVIEW_KINDS, "rows": _kinds(records)},
        "worst": {
            "title": strings.OVERVIEW_WORST,
            "by": strings.MEASURES[shown]["label"],
            "unit": strings.MEASURES[shown]["unit"],
            "layers": [{"name": name, "cell": rows[name]["cells"].get(shown)} for name in order],
        },
        "network": inspector.network(records, "", before, shown),
    }


def _facts(report: Record, records: Sequence[Record]) -> list[dict[str, str]]:
    quantized = sum(bool(record.get("bits_weights")) for record in records)
    stored = sum(layers.stored_bytes(record) for record in records)
    whole = sum(4.0 * (record.get("parameters") or 0) for record in records)
    macs = sum(float(record.get("macs") or 0) for record in records)
    facts = [
        ("layers", f"{len(records)}, {quantized} of them quantized"),
        ("weights", f"{sum(int(r.get('parameters') or 0) for r in records):,}"),
        ("stored", f"{strings.size(stored)}, in float {strings.size(whole)}"),
        ("multiply-adds", f"{macs / MILLION:,.2f} M for one example" if macs else "–"),
    ]
    opset = (report.get("model") or {}).get("opset")
    if opset:
        facts.append(("opset", str(opset)))
    return [{"label": label, "text": text} for label, text in facts]


def _kinds(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Layers of one operator together, those with most of the damage first."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(_kind(record), []).append(record)
    rows = [_row(kind, own) for kind, own in found.items()]
    return sorted(rows, key=lambda row: -row["rank"])


def _kind(record: Record) -> str:
    op, shape = str(record.get("op", "")), tuple(record.get("shape") or ())
    depthwise = op == "Conv" and len(shape) > 2 and shape[1] == 1 and shape[0] > 1
    return f"{op}, depthwise" if depthwise else op


def _row(kind: str, records: Sequence[Record]) -> dict[str, Any]:
    damages = [number(record.get("damage_kl")) for record in records]
    known = [damage for damage in damages if damage is not None]
    total = layers.MILLI * sum(known) if known else None
    return {
        "kind": kind,
        "count": str(len(records)),
        "weights": f"{sum(int(record.get('parameters') or 0) for record in records):,}",
        "bytes": strings.size(sum(layers.stored_bytes(record) for record in records)),
        "damage": "–" if total is None else f"{fixed(total, 2)} mnat",
        "rank": total if total is not None else float(len(records)),
    }
