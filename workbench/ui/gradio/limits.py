"""How much one page may ask of the server: waiting jobs, kept bytes, and what one job may take."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from workbench.foundation.errors import RunError
from workbench.session.openings import Bounds
from workbench.views import strings

#: of a job that learns, by the clock; of a study, by its processor time
JOB_SECONDS, STUDY_SECONDS = 4 * 3600.0, 1800.0


@dataclass(frozen=True)
class Limits:
    """What one page may ask.

    Attributes:
        waiting: jobs in the queue at the same time.
        stored: bytes of its uploads and runs.
    """

    waiting: int = 8
    stored: int = 20_000_000_000

    def require_stored(self, folder: Path, more: int = 0) -> None:
        """Refuse to keep `more` bytes in a page's folder.

        Raises:
            RunError: it would then hold more than is allowed.
        """
        held = stored_bytes(folder)
        if held + more > self.stored:
            raise RunError(strings.full(held, self.stored))

    def require_waiting(self, count: int) -> None:
        """Refuse a further job where `count` are in the queue.

        Raises:
            RunError: these are as many as may wait.
        """
        if count >= self.waiting:
            raise RunError(strings.waiting_limit(self.waiting))


#: of each student in a class
CLASSROOM = Limits(waiting=2, stored=1_000_000_000)


def memory_gib(share: float = 0.8) -> float:
    """A share of this machine's memory for one process, so that none can take it down."""
    return max(2.0, share * psutil.virtual_memory().total / 2**30)


def upload_bounds() -> Bounds:
    """What an upload may take while it is tried."""
    return Bounds(memory_gib(0.25))


def stored_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; links are not followed, and what is just going is 0."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total
