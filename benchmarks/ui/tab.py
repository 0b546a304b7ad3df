"""One simulated browser tab: what the page's scripts say to the server, said over HTTP.

An event is posted to Gradio's `queue/join`; its outcome comes over the stream `queue/data` of the
tab, which is open as long as anything is on its way. Looks and the pulse go past the queue, to
`component_server`. `heartbeat` stays open as long as the tab does: that it closes tells the server
that the tab is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.ui.layout import Layout, Listener, config_of

Message = dict[str, Any]
_LONG = httpx.Timeout(60.0, read=600.0)
_PATIENCE = 120.0


class BrokenTabError(Exception):
    """The server did not answer as it should have."""


@dataclass(frozen=True)
class Answer:
    """What came of one question.

    Attributes:
        seconds: from the click to the first picture; total: to the last one.
        size: bytes that came; rank: the place in Gradio's queue at first, 0 is next.
        pictures: how many were new.
    """

    seconds: float
    total: float
    size: int
    rank: int = 0
    pictures: int = 0


@dataclass
class _Pending:
    """An event on its way."""

    began: float
    done: asyncio.Future[Message]
    first: float = 0.0
    size: int = 0
    rank: int = 0


class Tab:
    """An open tab.

    Args:
        client: of one browser.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.session = secrets.token_hex(6)
        self.layout = Layout({}, {}, {}, {})
        self.values: dict[int, Any] = {}
        self.shown: dict[str, tuple[str, str, int]] = {}
        self.facts: dict[str, Any] = {}
        self.page_bytes = 0
        self._pending: dict[str, _Pending] = {}
        self._early: dict[str, list[tuple[float, int, Message]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def open(self) -> Answer:
        """Load the page as a browser does, and let it ask for its data."""
        began = time.perf_counter()
        page = await self.client.get("/", timeout=_LONG)
        page.raise_for_status()
        self.page_bytes = len(page.content)
        config = config_of(page.text)
        self.layout = Layout.of(config)
        self.values = dict(self.layout.values)
        self._tasks["heart"] = asyncio.create_task(self._beat())
        found = await self.hear("page", "load")
        seconds = time.perf_counter() - began
        return Answer(seconds, seconds, found.size + self.page_bytes, found.rank, found.pictures)

    async def close(self) -> None:
        """Close the tab."""
        for task in self._tasks.values():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError):
                await task

    @property
    def busy(self) -> bool:
        """Whether the page asks for progress."""
        return bool(self.facts.get("busy"))

    @property
    def pause(self) -> float:
        """Seconds until it asks again."""
        return float(self.facts.get("pause") or 700) / 1000

    def set(self, name: str, value: Any) -> None:
        """Type or choose something in a component."""
        self.values[self.layout.ids[name]] = value

    def view(self, name: str) -> dict[str, Any]:
        """The view-model that a picture shows."""
        first = self.values.get(self.layout.ids[name]) or "{}"
        return json.loads(self.shown[name][1] if name in self.shown else first)

    async def hear(self, name: str, event: str, data: Message | None = None) -> Answer:
        """A component sends an event: its listener, and what follows from that.

        Args:
            name: element id; event: such as "click"; data: what the event carries.
        """
        answers: list[Answer] = []
        for first in self.layout.listeners[name, event]:
            listener: Listener | None = first
            while listener is not None:
                answers.append(await self._run(listener, self.layout.ids.get(name), data))
                listener = self.layout.following.get(listener.number)
        total = sum(each.total for each in answers)
        asked = [each for each in answers if each.size]
        return Answer(
            asked[0].seconds if asked else 0.0,
            total,
            sum(each.size for each in answers),
            max(each.rank for each in answers),
            sum(each.pictures for each in answers),
        )

    async def look(self, message: Mapping[str, Any]) -> Answer:
        """Choose a layer, a channel or the like."""
        return await self._past_the_queue("look", message)

    async def pulse(self) -> Answer:
        """Ask how far things are; draw everything if that is what it takes."""
        answer = await self._past_the_queue("pulse", {})
        if self.facts.pop("more", False):
            await self.hear("wb-hub", "tick", {})
        return answer

    async def exact(self, message: Mapping[str, Any]) -> float:
        """Let a handle go; the seconds until the exact numbers are there."""
        question = json.dumps({**message, "key": self.facts.get("key")})
        return (await self._call("wb-inspector", "exact_range", question))[0]

    async def _past_the_queue(self, function: str, message: Mapping[str, Any]) -> Answer:
        key = self.facts.get("key")
        question = json.dumps({**message, "key": key, "have": self._have()})
        seconds, answer = await self._call("wb-hub", function, question)
        text = answer.json()
        return Answer(seconds, seconds, len(answer.content), 0, self._take(text) if text else 0)

    async def _call(self, name: str, function: str, question: str) -> tuple[float, httpx.Response]:
        began = time.perf_counter()
        body = {
            "data": question,
            "component_id": self.layout.ids[name],
            "fn_name": function,
            "session_hash": self.session,
        }
        found = await self.client.post("/gradio_api/component_server/", json=body, timeout=_LONG)
        if found.status_code != httpx.codes.OK:
            raise BrokenTabError(f"{function} answered {found.status_code}: {found.text[:200]}")
        return time.perf_counter() - began, found

    def _have(self) -> str:
        has = {name: version for name, (version, _, _) in self.shown.items()}
        return json.dumps({"seen": self.facts.get("seen", ""), "has": has})

    def _take(self, text: str) -> int:
        """Keep news; how many pictures were new."""
        news = json.loads(text)
        pictures = news.pop("pictures")
        for name, (version, view, at) in pictures.items():
            if self.shown.get(name, ("", "", 0))[2] <= at:
                self.shown[name] = (version, view, at)
        for place, (update, _) in news.pop("parts").items():
            if "value" in update:
                self.values[self.layout.parts[int(place)]] = update["value"]
        self.facts |= news
        return len(pictures)

    async def _run(self, listener: Listener, trigger: int | None, data: Message | None) -> Answer:
        inputs = [self.values.get(number) for number in listener.inputs]
        if not listener.server:
            if listener.gathers:
                self.values[listener.outputs[0]] = json.dumps(inputs)
            return Answer(0.0, 0.0, 0)
        if listener.has:
            inputs[1] = self._have()
        body = {
            "data": inputs,
            "event_data": data,
            "fn_index": listener.number,
            "trigger_id": trigger,
            "session_hash": self.session,
        }
        pending = _Pending(time.perf_counter(), asyncio.get_running_loop().create_future())
        joined = await self.client.post("/gradio_api/queue/join", json=body, timeout=_LONG)
        if joined.status_code != httpx.codes.OK:
            raise BrokenTabError(f"queue/join answered {joined.status_code}: {joined.text[:200]}")
        event = joined.json()["event_id"]
        self._pending[event] = pending
        for when, size, message in self._early.pop(event, ()):
            _note(pending, when, size, message)
        stream = self._tasks.get("stream")
        if not pending.done.done() and (stream is None or stream.done()):
            self._tasks["stream"] = asyncio.create_task(self._listen())
        message = await asyncio.wait_for(pending.done, _PATIENCE)
        del self._pending[event]
        return self._answer(listener, pending, message)

    def _answer(self, listener: Listener, pending: _Pending, message: Message) -> Answer:
        if not message.get("success"):
            raise BrokenTabError(
                f"event {listener.number} failed: {str(message.get('output'))[:200]}"
            )
        now, new = time.perf_counter(), 0
        for number, value in zip(listener.outputs, message["output"]["data"], strict=True):
            if number in self.layout.news:
                new += self._take(value)
            elif not (isinstance(value, dict) and value.get("__type__") == "update"):
                self.values[number] = value
        first = (pending.first or now) - pending.began
        return Answer(first, now - pending.began, pending.size, pending.rank, new)

    async def _listen(self) -> None:
        """Read the tab's stream as long as anything is on its way; the server closes it between."""
        try:
            while any(not pending.done.done() for pending in self._pending.values()):
                async for size, message in self._messages():
                    self._route(size, message)
        except (httpx.HTTPError, BrokenTabError) as error:
            for pending in self._pending.values():
                if not pending.done.done():
                    pending.done.set_exception(BrokenTabError(f"the stream broke: {error!r}"))

    def _route(self, size: int, message: Message) -> None:
        event, now = message.get("event_id"), time.perf_counter()
        if event is None:
            return
        if (pending := self._pending.get(event)) is None:
            self._early.setdefault(event, []).append((now, size, message))
        else:
            _note(pending, now, size, message)

    async def _messages(self) -> AsyncIterator[tuple[int, Message]]:
        """Each message with its bytes."""
        asked = {"session_hash": self.session}
        async with self.client.stream(
            "GET", "/gradio_api/queue/data", params=asked, timeout=_LONG
        ) as answer:
            if answer.status_code != httpx.codes.OK:
                raise BrokenTabError(f"queue/data answered {answer.status_code}")
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    message = json.loads(line[5:])
                    if message["msg"] == "close_stream":
                        return
                    yield len(line), message

    async def _beat(self) -> None:
        """Keep the heartbeat open until the tab is closed."""
        address = f"/gradio_api/heartbeat/{self.session}"
        async with self.client.stream("GET", address, timeout=httpx.Timeout(60.0, read=None)) as it:
            async for _ in it.aiter_bytes():
                pass


def _note(pending: _Pending, when: float, size: int, message: Message) -> None:
    pending.size += size
    kind = message["msg"]
    if kind == "estimation":
        pending.rank = max(pending.rank, int(message.get("rank") or 0))
    elif kind == "process_generating":
        pending.first = pending.first or when
    elif kind == "process_completed" and not pending.done.done():
        pending.done.set_result(message)
