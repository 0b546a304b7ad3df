"""The registry of data makers: a file in this package with `@maker(...)` is all it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from workbench.foundation.options import Options
from workbench.foundation.registry import Registry
from workbench.synthesis.base import Maker

Made = TypeVar("Made", bound=type[Maker])

MAKERS: Registry[type[Maker]] = Registry("data maker", "workbench.synthesis")


def maker(
    name: str, *, title: str, options: type[Options], citation: str, **facts: Any
) -> Callable[[Made], Made]:
    """Register a maker class.

    Facts that doors show: `cost`, `data`, `use` (when to take it), and `cells` and `strategy`, its
    place in the survey's frame (see `workbench.foundation.taxonomy`).
    """

    def decorate(cls: Made) -> Made:
        cls.name = name
        register = MAKERS.register(name, title=title, options=options, citation=citation, **facts)
        return register(cls)

    return decorate


def make(name: str, options: Mapping[str, Any] | None = None) -> Maker:
    """Build a maker from its name and plain option values.

    Raises:
        RecipeError: unknown name, unknown option, or a value out of range.
    """
    return MAKERS[name].make(MAKERS.parsed(name, options))
