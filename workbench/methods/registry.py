"""The method registry: a file in this package with `@method(...)` is all it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from workbench.foundation.options import Options
from workbench.foundation.registry import Registry
from workbench.methods.base import Method

Made = TypeVar("Made", bound=type[Method])

METHODS: Registry[type[Method]] = Registry("method", "workbench.methods")


def method(
    name: str, *, title: str, options: type[Options], citation: str, **facts: Any
) -> Callable[[Made], Made]:
    """Register a method class.

    Facts that doors show: `signal` (what drives it), `scope` (layer, block, network), `learnables`,
    `data` (none, unlabelled, labelled), `cost` (seconds, minutes), `use` (when to take it), and
    `cells` and `strategy`, its place in the survey's frame (see `workbench.foundation.taxonomy`).
    """

    def decorate(cls: Made) -> Made:
        cls.name = name
        register = METHODS.register(name, title=title, options=options, citation=citation, **facts)
        return register(cls)

    return decorate


def make(name: str, options: Mapping[str, Any] | None = None) -> Method:
    """Build a method from its name and plain option values.

    Raises:
        RecipeError: unknown name, unknown option, or a value out of range.
    """
    return METHODS[name].make(METHODS.parsed(name, options))
