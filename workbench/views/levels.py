"""The levels model, layer, channel and weight, as the parts of a breadcrumb."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Link = Callable[[dict[str, Any]], str]


def levels(
    model: str,
    layer: str | None = None,
    channel: int | None = None,
    weight: int | None = None,
    link: Link | None = None,
    summary: bool = False,
) -> list[dict[str, Any]]:
    """One record for each level down to the one on screen, which is the last.

    Args:
        model: its name; layer, channel, weight: what is selected, None below the level on screen.
        link: gives the address of a level from its `layer`, `channel` and `weight`, where the page
            has one.
        summary: there is a summary of the model to go up to.
    """
    places: list[tuple[str, str, dict[str, Any]]] = [("model", model, {})]
    for kind, value in (("layer", layer), ("channel", channel), ("weight", weight)):
        if value is None:
            break
        text = str(value) if kind == "layer" else f"{kind} {value}"
        places.append((kind, text, {**places[-1][2], kind: value}))
    return [
        {
            "kind": kind,
            "text": text,
            "send": _message(kind, place) if summary or kind != "model" else None,
            "link": None if link is None else link(place),
        }
        for kind, text, place in places
    ]


def _message(kind: str, place: dict[str, Any]) -> dict[str, Any]:
    """What a click on a level says to the page."""
    return {"kind": "whole"} if kind == "model" else {"kind": kind, kind: place[kind]}
