"""How far a run is, for whoever watches: a fraction, an estimate of the rest, a line of text."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from workbench.foundation.errors import RunError
from workbench.session.store import RunFiles, write_json

#: shares of a run's time, as measured on small networks; they only steer the estimate
PHASES: Mapping[str, float] = {
    "synthesise": 2.0,
    "learn": 0.34,
    "export": 0.01,
    "scores": 0.30,
    "layers": 0.24,
    "verify": 0.09,
    "latency": 0.02,
}
#: the share of learning where a method takes minutes; the same networks
MINUTES = 4.0
_PAUSE = 0.2  # seconds between two writes
_SURE = 0.02  # below this fraction an estimate would be a guess


@dataclass(frozen=True)
class Progress:
    """One look at a run.

    Attributes:
        fraction: 0 to 1 of the whole run.
        eta_seconds: expected rest; None while unknown.
        phase: one of `PHASES`; stage: number of the recipe's stage, from 0.
        step, total: within the phase or stage.
        text: for people.
        seconds: of work so far, in this process and those before it.
    """

    fraction: float = 0.0
    eta_seconds: float | None = None
    phase: str = "learn"
    stage: int = 0
    step: int = 0
    total: int = 0
    text: str = ""
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


class Clock:
    """Turns steps into `Progress`, and writes it now and then.

    Args:
        files: the run's files.
        phases: those this run will go through; the others take no share.
        stages: number of stages in the recipe.
        minutes: one of them takes minutes where others take seconds.
    """

    def __init__(
        self, files: RunFiles, phases: list[str], stages: int, minutes: bool = False
    ) -> None:
        self._files = files
        self._stages = max(1, stages)
        shares = {**PHASES, "learn": MINUTES} if minutes else PHASES
        whole = sum(shares[phase] for phase in phases)
        self._share = {phase: shares[phase] / whole for phase in phases}
        self._before = spent(files)
        self._start = time.monotonic()
        self._first: float | None = None
        self._written = float("-inf")
        self._place: tuple[str, int] = ("", 0)

    def at(self, phase: str, stage: int, step: int, total: int, text: str) -> Progress:
        """The progress at this step; written to disk if the last time was long enough ago."""
        fraction = self._fraction(phase, stage, step, total)
        seconds = time.monotonic() - self._start
        eta = self._eta(fraction, seconds)
        now = Progress(fraction, eta, phase, stage, step, total, text, self._before + seconds)
        moved = (phase, stage) != self._place
        if moved or time.monotonic() - self._written > _PAUSE or fraction >= 1:
            self._place, self._written = (phase, stage), time.monotonic()
            write_json(self._files.progress, now.record(), durable=False)
        return now

    def done(self) -> Progress:
        """The last one."""
        return self.at("done", 0, 1, 1, "done")

    def _fraction(self, phase: str, stage: int, step: int, total: int) -> float:
        before = 0.0
        for name, share in self._share.items():
            if name == phase:
                inside = min(1.0, step / total) if total else 0.0
                if phase == "learn":
                    inside = (min(stage, self._stages - 1) + inside) / self._stages
                return before + share * inside
            before += share
        return 1.0

    def _eta(self, fraction: float, seconds: float) -> float | None:
        """By the pace since this process began: a resumed run does not start at 0."""
        if self._first is None:
            self._first = fraction
        gained = fraction - self._first
        return seconds * (1 - fraction) / gained if gained > _SURE else None


def spent(files: RunFiles) -> float:
    """Seconds that earlier processes took for this run, until they were stopped; 0 if unknown."""
    try:
        return float(files.read_progress().get("seconds") or 0.0)
    except RunError:  # written in passing: a machine that went down may have left half of it
        return 0.0
