"""The wire between page and server: what changed travels, and nothing else.

Gradio builds a component anew for each output of an event, whether it changes or not, and makes a
trip to a thread for each input. With some six hundred components on the page either would cost more
than what the workbench itself computes. So a listener has one output, the news: a text that the
page's own script takes apart (`wire.js`). With every question the page says which version of each
picture it has, so pictures that did not change are left out; we keep nothing of it on the server
(Gradio keeps the last news of each listener until the tab is closed).

News, as JSON: `at` (when it was seen, so that what was asked earlier cannot overwrite what was
asked later), `pictures` (name -> version, text and own `at`), `parts` (place -> properties and own
`at`), and, where they are known, `seen`, `busy`, `pause`, `key` and `more`.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import gradio as gr

from workbench.ui.gradio.pictures import payload, received
from workbench.views import strings

Updates = dict[Any, Any]
Stamped = dict[Any, tuple[int, Any]]
#: keys of updates that are no components
AT, SEEN, BUSY, MORE, PAUSE, KEY = FACTS = ("at", "seen", "busy", "more", "pause", "key")
#: what Gradio fills in by itself, by the name that a handler gives it
_SPECIAL: dict[str, Any] = {"request": gr.Request, "event": gr.EventData}
_LONGEST = 65_536
_PAUSE, _EACH = 700, 50  # milliseconds between two pulses, and of these for each page
_LATELY = 6.0

_TAKE = """
watch("value", () => window.workbenchWire.take(props.value));
"""
_HUB = """
window.workbenchWire.connect(server, () => trigger("tick", {}));
"""
_FIRST = "(key, have) => [key, window.workbenchWire.have()]"
_HAVE = """async (key, have, ...rest) =>
  [await window.workbenchWire.key, window.workbenchWire.have(), ...rest]"""
_GATHER = "(...values) => [JSON.stringify(values)]"
_PARTS = "(text) => window.workbenchWire.parts(text)"


@cache
def head() -> str:
    """The page's half, for its head."""
    script = (resources.files("workbench.ui.gradio") / "wire.js").read_text(encoding="utf-8")
    gone = payload(payload({"text": strings.SERVER_GONE, "tone": "bad"}))
    return (
        "<style>.wb-wire{display:none!important}</style>"
        f"<script>window.workbenchGone = {gone};\n{script}</script>"
    )


class Wire:
    """Listeners of one page; make it inside `gr.Blocks`.

    Args:
        key: the browser's key.
        packer: makes the news.
        parts: Gradio's own components that news may change; first come those that listeners
            without a form change, and these are `few`.
        recipe: components that make up the form.
        functions: `look` and `pulse`, which the page calls past the queue.
    """

    def __init__(
        self,
        key: Any,
        packer: Packer,
        parts: Sequence[Any],
        few: int,
        recipe: Sequence[Any],
        functions: Sequence[Callable[[Any], str | None]],
    ) -> None:
        self._key, self._packer, self._recipe = key, packer, list(recipe)
        self._parts, self._few = list(parts), few
        self._have, self._said = _hidden("wb-have"), _hidden("wb-said")
        self.hub = _hidden("wb-hub", _HUB, list(functions))

    def listen(
        self,
        trigger: Callable[..., Any],
        handler: Callable[..., Any],
        inputs: Sequence[Any] = (),
        *,
        form: bool = False,
        outputs: Sequence[Any] = (),
        first: bool = False,
        **how: Any,
    ) -> None:
        """Have `handler(key, *inputs)` called when `trigger` is heard.

        Args:
            trigger: such as `button.click`, or the `then` of another listener.
            handler: gives updates by component or fact, at once or one after another.
            inputs: components whose values it takes.
            form: whether it may change the form, too.
            outputs: components that are updated in Gradio's own way.
            first: the page has no key yet; all others wait until it has.
            how: options of Gradio's.
        """
        news = _hidden("", _TAKE)
        heard = trigger(
            self._packer.packed(handler, list(outputs)),
            [self._key, self._have, *inputs],
            [news, *outputs],
            js=_FIRST if first else _HAVE,
            **how,
        )
        parts = self._parts if form else self._parts[: self._few]
        heard.then(None, [news], parts, js=_PARTS, show_progress="hidden", queue=False)

    def say(
        self,
        triggers: Sequence[Any],
        handler: Callable[..., Any],
        *,
        form: bool = False,
        **how: Any,
    ) -> None:
        """The same for a handler that takes the values of the whole form, as one text."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False}
        said = gr.on(list(triggers), None, self._recipe, [self._said], js=_GATHER, **quiet)
        self.listen(said.then, handler, [self._said], form=form, **how)


class Packer:
    """From what handlers give to news.

    Args:
        pictures: components that take their views from the news; parts: others, by place.
    """

    def __init__(self, pictures: Sequence[Any], parts: Sequence[Any]) -> None:
        self._names = {component: component.elem_id for component in pictures}
        self._places = {component: place for place, component in enumerate(parts)}

    def packed(self, handler: Callable[..., Any], outputs: Sequence[Any]) -> Callable[..., Any]:
        """`handler` as Gradio calls it: the news come first, then the values of `outputs`."""
        known = inspect.signature(handler).parameters
        special = {name: kind for name, kind in _SPECIAL.items() if name in known}
        count = len(special)

        def ready(stamped: Stamped, has: Mapping[str, str]) -> Any:
            news = self._packed(stamped, has)
            values = (stamped[each][1] if each in stamped else gr.skip() for each in outputs)
            return [news, *values] if outputs else news

        def handle(*values: Any) -> Iterator[Any]:
            given = dict(zip(special, values[:count], strict=True))
            key, have, *inputs = values[count:]
            has = had(have)[1]
            found = handler(key, *inputs, **given)
            merged: Stamped = {}
            for updates in [found] if isinstance(found, dict) else found:
                merged |= _stamped(updates)  # the page may see no more than the last of them
                yield ready(merged, has)
                has = {name: has[name] for name in has.keys() - self._drawn(merged)}

        return _signed(handle, special, inspect.isgeneratorfunction(handler))

    def _drawn(self, targets: Collection[Any]) -> set[str]:
        """Names of the pictures among `targets`."""
        return {self._names[target] for target in targets if target in self._names}

    def news(self, updates: Updates, has: Mapping[str, str]) -> str:
        """The news for a page that `has` these versions of pictures."""
        return self._packed(_stamped(updates), has)

    def _packed(self, stamped: Stamped, has: Mapping[str, str]) -> str:
        latest = max((at for at, _ in stamped.values()), default=now())
        found: dict[str, Any] = {"at": latest, "pictures": {}, "parts": {}}
        for target, (at, value) in stamped.items():
            if target in FACTS:
                found[target] = value
            elif target in self._names:
                name, version = self._names[target], _version(value)
                if has.get(name) != version:
                    found["pictures"][name] = [version, value, at]
            elif target in self._places:
                found["parts"][self._places[target]] = [_properties(value), at]
        return payload(found)


def _stamped(updates: Updates) -> Stamped:
    """Updates with the time at which they were seen; where it was not noted, that is now."""
    at = updates.get(AT, now())
    return {target: (at, value) for target, value in updates.items()}


def now() -> int:
    """Microseconds; news that were seen later have more."""
    return time.time_ns() // 1000


def had(have: object) -> tuple[str, dict[str, str]]:
    """What a page says that it has: the token that it saw last, and versions of pictures.

    It may come from anybody; what is not understood is as if it were not there.
    """
    found = parsed(have)
    seen, has = found.get("seen"), found.get("has")
    texts = has.items() if isinstance(has, dict) else ()
    versions = {name: each for name, each in texts if isinstance(each, str)}
    return (seen if isinstance(seen, str) else ""), versions


def parsed(text: object) -> dict[str, Any]:
    """A JSON object that a page sent; empty for anything else."""
    return received(text, _LONGEST) or {}


def values_of(text: object) -> list[Any]:
    """The values of a form that a page sent.

    Raises:
        ValueError: it is no list.
    """
    if not isinstance(text, str) or len(text) > 16 * _LONGEST:
        raise ValueError("no values")
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("values too deep") from None
    if not isinstance(found, list):
        raise ValueError("no list of values")
    return found


class Pages:
    """Pages that have asked lately; the more there are, the less often each may ask."""

    def __init__(self) -> None:
        self._asked: dict[str, float] = {}
        self._lock = threading.Lock()

    def pause(self, key: str) -> int:
        """Milliseconds until the page of `key`, which asks now, asks again."""
        with self._lock:
            last = time.monotonic() - _LATELY
            self._asked = {k: when for k, when in self._asked.items() if when > last}
            self._asked[key] = time.monotonic()
            return max(_PAUSE, _EACH * len(self._asked))


def _version(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _properties(value: Any) -> dict[str, Any]:
    """An update as properties of a component."""
    if isinstance(value, dict) and value.get("__type__") == "update":
        return {key: each for key, each in value.items() if key != "__type__"}
    return {"value": value}


def _signed(
    handle: Callable[..., Iterator[Any]], special: Mapping[str, Any], several: bool
) -> Callable[..., Any]:
    """`handle` under a signature in which Gradio finds what it fills in itself."""

    def many(*values: Any) -> Iterator[Any]:
        yield from handle(*values)

    def one(*values: Any) -> Any:
        return next(handle(*values))

    found: Any = many if several else one
    kinds = inspect.Parameter
    filled = [kinds(n, kinds.POSITIONAL_OR_KEYWORD, annotation=k) for n, k in special.items()]
    found.__signature__ = inspect.Signature([*filled, kinds("values", kinds.VAR_POSITIONAL)])
    found.__annotations__ = dict(special)
    return found


def _hidden(
    elem_id: str, script: str = "", functions: list[Callable[..., Any]] | None = None
) -> gr.HTML:
    """A component that is never seen; its value is a text."""
    return gr.HTML(
        value="",
        html_template="<i></i>",
        js_on_load=script,
        apply_default_css=False,
        elem_id=elem_id or None,
        elem_classes="wb-wire",
        server_functions=functions,
    )
