"""One layer in detail: its weights, its input, its channels, its place in the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.views import cells, histogram, layers, levels, strings
from workbench.views.numbers import fixed, number

Record = Mapping[str, Any]

HEAVY_SHARE = 0.5  # channels that together carry this share of the error are marked
HEAVY_PART = 0.25  # unless they are more than this part of all channels


def inspector(
    model: str,
    records: Sequence[Record],
    histograms: Mapping[str, Record],
    layer: str,
    channel: Mapping[str, Any] | None = None,
    before: Sequence[Record] = (),
    measure: str = "weights",
) -> dict[str, Any]:
    """The view-model of one layer.

    Args:
        model: name of the model.
        records: `LayerError` records of all layers.
        histograms: records by site, each with its `kind` and `layer`.
        layer: the selected layer.
        channel: `{"index": k, "record": ...}` to show one channel of the weights alone; with its
            single `weights` (of `analysis.weights`) and the number of the chosen `weight`, if any.
        before: records of nearest rounding, to compare with.
        measure: what the network is coloured by.
    """
    record = next((item for item in records if item["layer"] == layer), None)
    if record is None:
        return {"layer": None, "message": strings.NO_LAYERS}
    weight = _first(histograms, layer, "weight")
    activation = _first(histograms, layer, "activation")
    weights = None if channel is None else channel.get("weights")
    chosen = None if channel is None else channel.get("weight")
    index = None if channel is None else channel["index"]
    return {
        "model": model,
        "layer": layer,
        "levels": levels.levels(model, layer, index, chosen),
        "cells": cells.cells(weights, index, chosen) if weights and index is not None else None,
        "facts": layers.facts(record),
        "finding": finding(record, weight[1] if weight else None),
        "weights": _weights(weight, channel),
        "activations": _activations(activation),
        "channels": channels(weight, index),
        "network": network(records, layer, before, measure),
    }


def finding(record: Record, weight: Record | None) -> str:
    """One sentence about where this layer's error comes from."""
    own = number(record.get("alone_weights_db"))
    other = number(record.get("alone_activations_db"))
    bits = int(record.get("bits_weights") or 0)
    if not bits or own is None:
        return "The weights of this layer stay float."
    below = (layers.theory(bits) or 0.0) - own
    against = f"{fixed(below)} below theory" if below > 0.5 else "as theory has it"
    parts = [f"Weights {fixed(own)} dB, {against}"]
    if other is not None and record.get("bits_activations"):
        parts.append(f"input {fixed(other)} dB{', the worse' if other < own else ''}")
    heavy = _heavy(weight.get("channels") if weight else None)
    if heavy:
        parts.append(heavy["text"])
    return "; ".join(parts) + "."


def channels(weight: tuple[str, Record] | None, chosen: int | None) -> dict[str, Any] | None:
    """Bars of the channels' ranges, with those that carry most of the error marked."""
    record = weight[1].get("channels") if weight else None
    if not weight or not record or len(record["ranges"]) < 2:
        return {"title": strings.CHANNELS_TITLE, "message": strings.NO_HISTOGRAM}
    heavy = _heavy(record)
    return {
        "title": strings.CHANNELS_TITLE,
        "ranges": record["ranges"],
        "share": record["share"],
        "worst": heavy["indices"] if heavy else [],
        "channel": chosen,
        "selectable": True,
        "text": heavy["text"] if heavy else _even(record["ranges"]),
    }


def network(
    records: Sequence[Record],
    selected: str,
    before: Sequence[Record] = (),
    measure: str = "weights",
) -> dict[str, Any]:
    """A measure of each layer in the order of the network.

    Of decibels: its error alone, and what has gathered; of anything else: a bar for each layer.
    """
    old = {record["layer"]: number(record.get("accumulated_db")) for record in before}
    points = [{**_point(record), "before": old.get(record["layer"])} for record in records]
    keys = ("weights", "activations", "accumulated", "before")
    values = [point[key] for point in points for key in keys if point[key] is not None]
    references = [point["reference"] for point in points if point["reference"] is not None]
    low = min([0.0, *values])
    high = max([10.0, *values, *references])
    return {
        "title": strings.NETWORK_TITLES.get(measure, strings.NETWORK_TITLE),
        "unit": strings.MEASURES.get(measure, {}).get("unit", "dB"),
        "bars": layers.bars(records, measure) if measure in strings.NETWORK_TITLES else None,
        "points": points,
        "low": max(-20.0, low),
        "high": high * 1.05,
        "first": "input",
        "last": "output",
        "selected": selected,
        "compared": any(point["before"] is not None for point in points),
        "spoken": f"Error along the network, {strings.plural(len(points), 'layer')}",
    }


def _point(record: Record) -> dict[str, Any]:
    bits = int(record.get("bits_weights") or 0)
    own = number(record.get("alone_weights_db")) if bits else None
    other = number(record.get("alone_activations_db")) if record.get("bits_activations") else None
    gathered = number(record.get("accumulated_db"))
    text = f"weights {fixed(own)}, input {fixed(other)}, total {fixed(gathered)} dB"
    return {
        "name": str(record["layer"]),
        "weights": own,
        "activations": other,
        "accumulated": gathered,
        "reference": layers.theory(bits),
        "text": text,
    }


def _first(histograms: Mapping[str, Record], layer: str, kind: str) -> tuple[str, Record] | None:
    for site, record in histograms.items():
        if record.get("layer") == layer and record.get("kind") == kind:
            return site, record
        if kind == "activation" and layer in record.get("readers", ()):
            return site, record
    return None


def _weights(found: tuple[str, Record] | None, channel: Mapping[str, Any] | None) -> dict[str, Any]:
    if found is None:
        return {"title": strings.WEIGHTS_TITLE, "message": strings.NO_HISTOGRAM}
    site, record = found
    ranges = (record.get("channels") or {}).get("ranges", [])
    shown = record if channel is None else channel["record"]
    return histogram.view(
        shown,
        title=strings.WEIGHTS_TITLE,
        site=site,
        channel=None if channel is None else channel["index"],
        channels=len(ranges),
    )


def _activations(found: tuple[str, Record] | None) -> dict[str, Any]:
    if found is None:
        return {"title": strings.ACTIVATIONS_TITLE, "message": strings.STAYS_FLOAT}
    site, record = found
    return histogram.view(record, title=strings.ACTIVATIONS_TITLE, site=site, log=True)


def _heavy(record: Record | None) -> dict[str, Any] | None:
    """The few channels that carry most of the error, if it is a few."""
    if not record or len(record["share"]) < 4:
        return None
    order = sorted(range(len(record["share"])), key=lambda k: -record["share"][k])
    total, chosen = 0.0, []
    for k in order:
        if total >= HEAVY_SHARE:
            break
        total += record["share"][k]
        chosen.append(k)
    if len(chosen) > HEAVY_PART * len(order):
        return None
    noun = "channel carries" if len(chosen) == 1 else "channels carry"
    text = f"{len(chosen)} of {len(order)} {noun} {total * 100:.0f} % of the weight error"
    return {"indices": chosen, "text": text}


def _even(ranges: Sequence[float]) -> str:
    widest, narrowest = max(ranges), max(min(ranges), 1e-12)
    return f"widest over narrowest: {widest / narrowest:,.1f}; the error is spread evenly"
