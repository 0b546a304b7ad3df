"""What a student does at the app, again and again, with time to think between."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import httpx

from benchmarks.ui.tab import Answer, BrokenTabError, Tab

VIEWS = ("layers", "learning", "compare", "export", "lessons", "open")
THINK = (1.0, 4.0)  # seconds
#: what is done, and how often of a hundred times
HABITS = {"layer": 38, "channel": 10, "handle": 7, "form": 20, "method": 3, "view": 20, "run": 2}


@dataclass
class Diary:
    """What was measured: seconds by kind, and what went wrong."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    sizes: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def note(self, kind: str, answer: Answer) -> None:
        """Keep an answer."""
        self.seconds[kind].append(answer.seconds)
        self.sizes[kind].append(answer.size)
        self.ranks.append(answer.rank)


class Student:
    """One student.

    Args:
        url: of the app; seed: decides what is done when.
        diary: where it is written down.
    """

    def __init__(self, url: str, seed: int, diary: Diary) -> None:
        self._url, self._diary = url, diary
        self._chance = random.Random(seed)
        self._tab: Tab | None = None

    async def work(self, delay: float, seconds: float) -> None:
        """Open the app after `delay` seconds, work for so long, close the tab."""
        await asyncio.sleep(delay)
        end = time.monotonic() + seconds
        limits = httpx.Limits(max_connections=6)  # as many as a browser opens to one server
        async with httpx.AsyncClient(base_url=self._url, limits=limits) as client:
            self._tab = tab = Tab(client)
            await self._do("open", tab.open)
            pulse = asyncio.create_task(self._pulses(tab))
            while time.monotonic() < end and tab.facts.get("key"):
                await asyncio.sleep(self._chance.uniform(*THINK))
                await self._act(tab)
            pulse.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pulse
            await tab.close()

    async def _act(self, tab: Tab) -> None:
        kind = self._chance.choices(list(HABITS), list(HABITS.values()))[0]
        if kind == "layer":
            rows = tab.view("wb-layers").get("rows") or [{"name": ""}]
            layer = self._chance.choice(rows)["name"]
            await self._do(kind, lambda: tab.look({"kind": "layer", "layer": layer}))
        elif kind == "channel":
            channel = self._chance.randrange(4)
            await self._do(kind, lambda: tab.look({"kind": "channel", "channel": channel}))
        elif kind == "handle":
            await self._do(kind, lambda: self._handle(tab))
        elif kind == "form":
            tab.set("wb-weights", self._chance.choice((8, 6, 5, 4, 3, 2)))
            await self._do(kind, lambda: tab.hear("wb-weights", "input"))
        elif kind == "method":
            tab.set("wb-method", self._chance.choice(("rtn", "gptq", "gram", "adaround")))
            await self._do(kind, lambda: tab.hear("wb-method", "input"))
        elif kind == "view":
            view = self._chance.choice(VIEWS)
            tab.set("wb-view", view)
            await self._do(f"view {view}", lambda: tab.hear("wb-view", "input"))
        else:
            await self._do(kind, lambda: self._run(tab))

    async def _handle(self, tab: Tab) -> Answer:
        """Let a handle go."""
        site = (tab.view("wb-inspector").get("weights") or {}).get("site", "")
        message = {"kind": "clip", "site": site, "channel": None, "scale": 0.01, "zero_point": 0}
        seconds = await tab.exact(message)
        return Answer(seconds, seconds, 0)

    async def _run(self, tab: Tab) -> Answer:
        """Start a short job."""
        tab.set("wb-method", "rtn")
        return await tab.hear("wb-run", "click", {})

    async def _pulses(self, tab: Tab) -> None:
        """Ask how far things are, as long as something is being made."""
        while True:
            await asyncio.sleep(tab.pause)
            if tab.busy:
                await self._do("pulse", tab.pulse)
                self._diary.places += _places(tab.view("wb-runs").get("rows") or [])

    async def _do(self, kind: str, act: Callable[[], Awaitable[Answer]]) -> None:
        try:
            self._diary.note(kind, await act())
        except (BrokenTabError, httpx.HTTPError, TimeoutError, KeyError, ValueError) as error:
            self._diary.errors.append(f"{kind}: {error!r}")


def _places(rows: Sequence[dict[str, list[str]]]) -> list[int]:
    """Jobs before each of the jobs that wait, as the table of runs says."""
    texts = [str(row["cells"][1]) for row in rows]
    waiting = [text.removeprefix("waiting, ") for text in texts if text.startswith("waiting, ")]
    return [0 if text.startswith("next") else int(text.split()[0]) for text in waiting]
