"""What a page's configuration says of its components and listeners."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_MARK = "window.gradio_config = "


@dataclass(frozen=True)
class Listener:
    """A dependency of the page.

    Attributes:
        number: Gradio's; inputs, outputs: components.
        server: whether the server is asked; otherwise the page's own script does the work.
        has: the second input is replaced by what the page has; gathers: the inputs become one text.
    """

    number: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    server: bool
    has: bool
    gathers: bool

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Listener:
        """From the configuration."""
        script = str(record.get("js") or "")
        return cls(
            record["id"], tuple(record["inputs"]), tuple(record["outputs"]), record["backend_fn"],
            "workbenchWire.have" in script, "stringify" in script,
        )  # fmt: skip


@dataclass
class Layout:
    """The page.

    Attributes:
        ids: components by element id; values: of components at first.
        listeners: by who is heard and what; following: what comes after a listener.
        news: components that take news; parts: those that news may change, by place.
    """

    ids: dict[str, int]
    values: dict[int, Any]
    listeners: dict[tuple[str, str], list[Listener]]
    following: dict[int, Listener]
    news: frozenset[int] = frozenset()
    parts: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Layout:
        """From Gradio's configuration."""
        every = {each["id"]: each for each in config["components"]}
        names = {number: each["props"].get("elem_id") for number, each in every.items()}
        heard: dict[tuple[str, str], list[Listener]] = {}
        after: dict[int, Listener] = {}
        parts: list[int] = []
        for record in config["dependencies"]:
            own = Listener.of(record)
            if record.get("trigger_after") is not None:
                after[record["trigger_after"]] = own
            if "workbenchWire.parts" in str(record.get("js")):
                parts = max(parts, list(own.outputs), key=len)
            for target, event in record["targets"]:
                heard.setdefault((names.get(target) or "page", event), []).append(own)
        scripts = {n: str(each["props"].get("js_on_load")) for n, each in every.items()}
        return cls(
            ids={name: number for number, name in names.items() if name},
            values={number: each["props"].get("value") for number, each in every.items()},
            listeners=heard,
            following=after,
            news=frozenset(n for n, script in scripts.items() if "workbenchWire.take" in script),
            parts=parts,
        )


def config_of(page: str) -> dict[str, Any]:
    """The configuration that the text of a page carries."""
    start = page.index(_MARK) + len(_MARK)
    return json.JSONDecoder().raw_decode(page, start)[0]
