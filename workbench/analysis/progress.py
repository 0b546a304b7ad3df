"""How far an analysis is, and how long it will still take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Progress:
    """Steps done of a total.

    Attributes:
        total: steps; step: done so far; known: of these, found in a store rather than measured.
    """

    total: int
    step: int = 0
    known: int = 0
    _began: float = field(default_factory=time.monotonic, repr=False)

    def at(self, step: int, known: int = 0) -> Progress:
        """Moved to `step`, of which `known` cost nothing."""
        self.step, self.known = step, known
        return self

    @property
    def fraction(self) -> float:
        """In [0, 1]."""
        return self.step / self.total if self.total else 1.0

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; None before anything was measured."""
        measured = self.step - self.known
        if measured <= 0:
            return None
        return (time.monotonic() - self._began) / measured * (self.total - self.step)
