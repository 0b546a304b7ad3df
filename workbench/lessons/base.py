"""What a demo is: options, a question, its answer from real data, a scene, and code that runs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from workbench.foundation.options import Options
from workbench.lessons.panels import Scene

Answer = str | float


@dataclass(frozen=True)
class Question:
    """What is guessed before anything is shown: one of the choices, or a number.

    Attributes:
        text: the question.
        choices: what can be chosen; empty where a number is asked for.
        tolerance: how far a number may be off, as a share of the answer.
        slack: the same in units, where the answer may be zero.
        unit: of the number.
        hint: said to a wrong guess; it does not give the answer away.
    """

    text: str
    choices: tuple[str, ...] = ()
    tolerance: float = 0.1
    slack: float = 0.0
    unit: str = ""
    hint: str = ""

    def accepts(self, guess: object, answer: Answer) -> bool:
        """Whether a guess is right; what is no answer at all never is."""
        if self.choices:
            return isinstance(guess, str) and guess == answer
        found = as_number(guess)
        if found is None or isinstance(answer, str):
            return False
        return abs(found - answer) <= max(self.slack, self.tolerance * abs(answer))

    def admits(self, guess: object) -> bool:
        """Whether this is a guess: one of the choices, or a finite number."""
        return guess in self.choices if self.choices else as_number(guess) is not None


class Demo(ABC):
    """One demo with chosen options; registered with `@demo(...)` from `lessons.registry`.

    Computations that several methods need are `functools.cached_property`s: an instance has one
    set of options and never changes.
    """

    Options: ClassVar[type[Options]] = Options

    def __init__(self, options: Any = None) -> None:
        self.options: Any = self.Options() if options is None else options

    @abstractmethod
    def question(self) -> Question:
        """What is asked; with choices among which the answer is for all options."""

    @abstractmethod
    def answer(self) -> Answer:
        """The right answer for the present options, computed from the data."""

    @abstractmethod
    def explanation(self) -> str:
        """Why, with the numbers in it; paragraphs are divided by empty lines."""

    @abstractmethod
    def scene(self) -> Scene:
        """Panels and readings for the present options."""

    @abstractmethod
    def code(self) -> str:
        """Python that ends with the first reading's value in the variable `result`."""


def as_number(value: object) -> float | None:
    """A finite number from what a person or a browser gave; None for anything else.

    Example:
        >>> as_number("0,25"), as_number(" -3 dB"), as_number(True), as_number(None)
        (0.25, None, None, None)
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        value = value.strip().replace("−", "-").replace(",", ".")
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None
    return found if math.isfinite(found) else None
