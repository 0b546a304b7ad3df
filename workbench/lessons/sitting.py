"""A person in front of a demo: which one, with which options, what was guessed.

Both doors keep such a record and hand messages of the browser to `after`, so a demo behaves alike
in the app and in a notebook.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from workbench.foundation.errors import WorkbenchError
from workbench.lessons.base import Answer, Demo, as_number
from workbench.lessons.controls import is_set
from workbench.lessons.registry import DEMOS, make

MOST = 4096  # numbers in a set that came from a browser


@dataclass(frozen=True)
class Sitting:
    """A frozen record; `after` gives the next one.

    Attributes:
        demo: name, "" for the list of all.
        options: those that differ from the defaults.
        guess: the first guess, None before it.
        revealed: the answer is on screen.
        problem: why the last message changed nothing, in a sentence.
    """

    demo: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    guess: Answer | None = None
    revealed: bool = False
    problem: str = ""

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The inverse of `record`; a demo or options that are not known any more are forgotten."""
        known = {key: record[key] for key in cls.__dataclass_fields__ if key in record}
        try:
            found = cls(**known)
            found.built()
        except (WorkbenchError, TypeError):
            return cls()
        return found

    def built(self) -> Demo | None:
        """The demo with these options, None for the list.

        Raises:
            RecipeError: an unknown demo, or options that cannot be.
        """
        return make(self.demo, self.options) if self.demo else None

    def after(self, message: Mapping[str, Any]) -> Self:
        """The record after a message of the browser; what cannot be becomes its `problem`.

        Messages: `open` (demo), `list`, `set` (name, value), `toggle` (name, value), `guess`
        (value), `reveal`, `again` (ask anew), `reset` (options as they were).
        """
        try:
            return self._after(str(message.get("kind")), message)
        except WorkbenchError as error:
            return replace(self, problem=str(error))

    def _after(self, kind: str, message: Mapping[str, Any]) -> Self:
        if kind == "open":
            name = str(message.get("demo"))
            return type(self)(DEMOS[name].name)
        if kind == "list":
            return type(self)()
        if not self.demo:
            return self
        if kind in ("set", "toggle"):
            return self._changed(str(message.get("name")), message.get("value"), kind)
        if kind == "guess":
            return self._guessed(message.get("value"))
        changes: dict[str, dict[str, Any]] = {
            "reveal": {"revealed": True},
            "again": {"revealed": False, "guess": None},
            "reset": {"options": {}},
        }
        return replace(self, **changes.get(kind, {}), problem="")

    def _changed(self, name: str, value: Any, kind: str) -> Self:
        options = DEMOS[self.demo].options
        if is_set(options, name):
            value = self._toggled(name, value) if kind == "toggle" else _whole(value)
        given = DEMOS.parsed(self.demo, {**self.options, name: value})
        chosen = given.model_dump(exclude_defaults=True)
        return replace(self, options=chosen, problem="")

    def _toggled(self, name: str, value: Any) -> tuple[int, ...]:
        """The set with a number put in, or taken out if it was there."""
        demo = self.built()
        held = set(getattr(demo.options, name) if demo else ())
        return tuple(sorted(held ^ set(_whole([value]))))

    def _guessed(self, value: Any) -> Self:
        demo = self.built()
        assert demo is not None
        question = demo.question()
        if not question.admits(value):
            ask = "choose one of the answers" if question.choices else "give a number"
            return replace(self, problem=f"'{value}' is no answer; {ask}")
        guess = value if question.choices else as_number(value)
        return replace(self, guess=guess, revealed=True, problem="")


def _whole(values: Any) -> tuple[int, ...]:
    """Whole numbers among what a browser sent."""
    found = values if isinstance(values, list | tuple) else ()
    return tuple(int(v) for v in found[:MOST] if isinstance(v, int | float) and abs(v) < 2**31)
