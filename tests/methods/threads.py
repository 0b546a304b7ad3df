"""Several processes as threads of one: each has its own network, and they meet to add and agree."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from workbench.methods.together import Together

PATIENCE = 60.0


class Meeting:
    """Where they wait for each other and lay down what they bring."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count, timeout=PATIENCE)
        self.brought: list[Any] = [None] * count


class Thread(Together):
    """One of them."""

    def __init__(self, rank: int, meeting: Meeting, precision: Any = None) -> None:
        super().__init__(rank, len(meeting.brought), precision)
        self._meeting = meeting
        self.calls: list[str] = []

    def total(self, own: torch.Tensor) -> torch.Tensor:
        self.calls.append("total")
        return torch.stack(self._exchange(own)).sum(dim=0)

    def agreed(self, own: Any) -> Any:
        self.calls.append("agreed")
        return self._exchange(own)[0]

    def _exchange(self, own: Any) -> list[Any]:
        self._meeting.brought[self.rank] = own
        self._meeting.barrier.wait()
        found = list(self._meeting.brought)
        self._meeting.barrier.wait()
        return found


def together(count: int, work: Callable[[Thread], Any], precision: Any = None) -> Sequence[Any]:
    """What `work` gives in each of `count` processes; the error of the first that fails."""
    meeting = Meeting(count)

    def run(rank: int) -> Any:
        try:
            return work(Thread(rank, meeting, precision))
        except BaseException:
            meeting.barrier.abort()
            raise

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
