"""A registry that fills itself: one file with one decorator adds an entry.

Entries carry what doors need to show them (title, description, citation, options class), so the
command line, the forms and the documentation are all drawn from here.
"""

from __future__ import annotations

import importlib
import pkgutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from workbench.foundation.errors import RecipeError, unknown_name
from workbench.foundation.options import Options

T = TypeVar("T")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered thing and what a person should know before choosing it."""

    name: str
    make: T
    title: str
    description: str
    citation: str
    options: type[Options]
    facts: Mapping[str, Any]


class Registry(Generic[T]):
    """Named entries found by walking `package`; duplicate names are refused.

    Args:
        noun: what an entry is called in messages, such as "method".
        package: dotted package whose modules register entries when imported.
    """

    def __init__(self, noun: str, package: str) -> None:
        self._noun = noun
        self._package = package
        self._entries: dict[str, Entry[T]] = {}
        self._walked = False
        self._lock = threading.RLock()

    def register(
        self,
        name: str,
        *,
        title: str,
        options: type[Options] = Options,
        citation: str = "",
        **facts: Any,
    ) -> Callable[[Made], Made]:
        """Decorator that files `make` under `name`, described by its docstring's first line."""

        def decorate(make: Made) -> Made:
            if name in self._entries:
                raise ValueError(f"{self._noun} '{name}' is registered twice; rename one of them")
            doc = (getattr(make, "__doc__", None) or "").strip()
            description = doc.splitlines()[0] if doc else ""
            entry = Entry(name, cast(T, make), title, description, citation, options, facts)
            self._entries[name] = entry
            return make

        return decorate

    def __getitem__(self, name: str) -> Entry[T]:
        self._walk()
        if name not in self._entries:
            raise RecipeError(unknown_name(self._noun, name, sorted(self._entries)))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._walk()
        return name in self._entries

    def __iter__(self) -> Iterator[Entry[T]]:
        self._walk()
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def parsed(self, name: str, options: Mapping[str, Any] | None = None) -> Options:
        """Typed options of an entry, from plain values.

        Raises:
            RecipeError: an unknown name, an unknown option, or a value out of range.
        """
        return self[name].options.parse(options or {}, f"{self._noun} '{name}'")

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return [entry.name for entry in self]

    def _walk(self) -> None:
        with self._lock:  # another thread waits for the whole walk instead of seeing half of it
            if self._walked:
                return
            self._walked = True
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self._package}.{module.name}")
