"""The table of sites: what each weight and each activation does to the answer, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.views.numbers import fixed

Record = Mapping[str, Any]

MILLI = 1000.0
SPLITS = ("held_out", "calibration")


def table(record: Record) -> dict[str, Any]:
    """The view-model of a site diagnosis: `rows`, worst first, the sums below and the rank line.

    Args:
        record: of `workbench.session.diagnosis.SiteDiagnosis`.
    """
    rows = sorted(record["sites"], key=lambda site: -damage(site, "held_out")[0])
    most = max([damage(site, split)[0] for site in rows for split in SPLITS], default=0.0)
    return {
        "rows": [_row(site, most) for site in rows],
        "unit": "millinats" if record["answer"] == "classes" else "½‖Δz‖² / 1000",
        "together": {split: MILLI * record["quantized"][split]["kl"] for split in SPLITS},
        "floor": record["floor_db"],
        "ranks": {split: record["spearman"][split] for split in SPLITS},
    }


def damage(record: Record, split: str) -> tuple[float, bool]:
    """Divergence that a site or layer alone causes, and whether that was measured."""
    found = record[split]
    exact = found["exact"]
    if exact is None:
        return float(found["estimate"]["kl"]), False
    return float(exact["alone"]["kl"]), True


def with_damage(records: Sequence[Record], record: Record | None) -> list[dict[str, Any]]:
    """Records of layers, with the damage and the gain that a diagnosis found.

    What was measured stands before what was estimated.

    Args:
        records: `LayerError` records; record: of a `SiteDiagnosis`, or None.
    """
    known = {each["layer"]: each for each in (record or {}).get("layers", ())}
    return [{**each, **_diagnosed(each, known.get(each["layer"]))} for each in records]


def _diagnosed(record: Record, found: Record | None) -> dict[str, Any]:
    if found is None:
        return {}
    value, measured = damage(found, "held_out")
    own: dict[str, Any] = {"gain_kl": _gain(found["held_out"])}
    if measured or record.get("damage_kl") is None:
        own["damage_kl"] = value
    guessed = ["gain"] if record.get("damage_kl") is not None else ["gain", "damage"]
    return {**own, "estimated": [] if measured else guessed}


def as_layers(record: Record) -> list[dict[str, Any]]:
    """Records of the layers as `workbench.views.layers.table` draws them.

    Args:
        record: of `workbench.session.diagnosis.SiteDiagnosis`.
    """
    sites = {site["site"]: site for site in record["sites"]}
    return [_layer(layer, [sites[name] for name in layer["sites"]]) for layer in record["layers"]]


def _layer(layer: Record, own: Sequence[Record]) -> dict[str, Any]:
    def worst(kind: str, way: str) -> float | None:
        found = [site["held_out"][way]["sqnr_db"] for site in own if site["kind"] == kind]
        return min(found, default=None)

    found, measured = damage(layer, "held_out")
    same = ("layer", "op", "shape", "parameters", "macs", "bits_weights", "bits_activations")
    return {
        **{key: layer[key] for key in same},
        "alone_weights_db": worst("weight", "alone"),
        "alone_activations_db": worst("activation", "alone"),
        "accumulated_db": worst("weight", "gathered"),
        "damage_kl": found,
        "estimated": [] if measured else ["damage"],
    }


def _row(site: Record, most: float) -> dict[str, Any]:
    cells = {split: _cell(*damage(site, split), most) for split in SPLITS}
    return {
        "name": site["site"],
        "kind": site["kind"],
        "layer": site["layer"],
        "grid": site["grid"],
        "damage": cells,
        "gain": MILLI * _gain(site["held_out"]),
        "sqnr": {"text": fixed(site["sqnr_db"]), "reference": site["theory_db"]},
        "gathered": {
            "text": fixed(site["held_out"]["gathered"]["sqnr_db"]),
            "reference": site["floor_db"],
        },
    }


def _cell(value: float, measured: bool, most: float) -> dict[str, Any]:
    text = fixed(MILLI * value, 3 if MILLI * value < 10 else 1)
    return {
        "text": text if measured else f"~{text}",
        "fraction": round(max(0.0, value) / most, 4) if most > 0 else 0.0,
        "measured": measured,
    }


def _gain(found: Record) -> float:
    return float((found["exact"] or found["estimate"])["gain"])
