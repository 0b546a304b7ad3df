"""The registry of demos: a file in `workbench/lessons/demos` with `@demo(...)` is enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from workbench.foundation.options import Options
from workbench.foundation.registry import Entry, Registry
from workbench.lessons.base import Demo

DEMOS: Registry[type[Demo]] = Registry("demo", "workbench.lessons.demos")
#: parts of the list of demos, in order
TOPICS = ("Grids", "Ranges", "Rounding", "Learning", "Networks", "Below 4 bits", "Runtime")

Made = TypeVar("Made", bound=type[Demo])


def demo(name: str, *, title: str, topic: str, order: int, citation: str) -> Callable[[Made], Made]:
    """Register a demo; its docstring's first line is the description.

    Args:
        topic: one of `TOPICS`; order: place within it.
        citation: of what is shown.
    """
    if topic not in TOPICS:
        raise ValueError(f"demo '{name}' has the unknown topic '{topic}'; take one of {TOPICS}")

    def register(made: Made) -> Made:
        facts: dict[str, Any] = {"topic": topic, "order": order}
        described = DEMOS.register(
            name, title=title, options=made.Options, citation=citation, **facts
        )
        return described(made)

    return register


def make(name: str, options: Mapping[str, Any] | Options | None = None) -> Demo:
    """A demo from its name and plain option values.

    Raises:
        RecipeError: an unknown name, an unknown option, or a value out of range.
    """
    given = options.model_dump() if isinstance(options, Options) else options
    return DEMOS[name].make(DEMOS.parsed(name, given))


def ordered() -> list[Entry[type[Demo]]]:
    """All demos in the order in which they are taught."""
    return sorted(DEMOS, key=lambda entry: (_topic(entry), entry.facts["order"], entry.name))


def _topic(entry: Entry[type[Demo]]) -> int:
    return TOPICS.index(entry.facts["topic"])
