"""How much one page may ask of the server: jobs that wait, and bytes that are kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from workbench.foundation.errors import RunError
from workbench.views import strings


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
