"""A class at one server: simulated tabs, each of its own student, for some minutes."""

from __future__ import annotations

import asyncio
import threading
import time
from statistics import median
from typing import Any

from benchmarks.ui.server import Server
from benchmarks.ui.student import Diary, Student

ARRIVAL = 15.0  # seconds within which all have opened the app
REST = 10.0  # after the last tab is closed
#: what costs no more than a look at what is known
CHEAP = ("layer", "channel", "handle", "form", "method", "view", "pulse")


def measure(server: Server, browsers: int, minutes: float) -> dict[str, Any]:
    """Records of `browsers` students at work for so many minutes."""
    diary, memory = Diary(), Memory(server)
    before, began = server.memory, time.monotonic()
    spent = server.processor
    with memory:
        asyncio.run(_class(server.url, browsers, minutes, diary))
    took = time.monotonic() - began
    share = (server.processor - spent) / took
    time.sleep(REST)
    cheap = [s for kind in diary.seconds if _cheap(kind) for s in diary.seconds[kind]]
    return {
        "browsers": browsers,
        "minutes": minutes,
        "interactions": {k: _summary(v, diary.sizes[k]) for k, v in sorted(diary.seconds.items())},
        "cheap": _summary(cheap, []),
        "errors": diary.errors,
        "highest_rank": max(diary.ranks, default=0),
        "longest_queue": max(diary.places, default=0),
        "server_cores": round(share, 3),
        "memory_mib": {
            "before": before >> 20,
            "during": memory.most >> 20,
            "after": server.memory >> 20,
        },
    }


async def _class(url: str, browsers: int, minutes: float, diary: Diary) -> None:
    students = [Student(url, seed, diary) for seed in range(browsers)]
    step = min(ARRIVAL, 10 * minutes) / browsers
    work = [each.work(k * step, 60 * minutes) for k, each in enumerate(students)]
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, BaseException):
            diary.errors.append(f"a student left: {outcome!r}")


class Memory:
    """The most memory that a server has while this is open."""

    def __init__(self, server: Server) -> None:
        self._server, self.most = server, server.memory
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.5):
            self.most = max(self.most, self._server.memory)


def _cheap(kind: str) -> bool:
    return kind.split(maxsplit=1)[0] in CHEAP


def _summary(seconds: list[float], sizes: list[int]) -> dict[str, Any]:
    """Count and milliseconds."""
    if not seconds:
        return {"count": 0}
    order = sorted(1000 * each for each in seconds)
    found: dict[str, Any] = {
        "count": len(order),
        "median_ms": round(median(order), 1),
        "p95_ms": round(order[min(len(order) - 1, int(0.95 * len(order)))], 1),
        "worst_ms": round(order[-1], 1),
    }
    return found | ({"bytes": round(median(sizes))} if sizes else {})
