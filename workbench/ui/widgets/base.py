"""What all widgets are: view-models in traits, messages from the browser, and HTML where none runs.

A subclass says which pictures it has and what it does with each kind of message:

    class Mine(Pictured):
        _esm = pictures(("_view", "signals", "mountSignals"))
        kinds: ClassVar = {"site": "_site"}

        def _site(self, message):
            self.selected = text(message, "name")

What is selected or set lives in traits, so that Python reads and sets it, and all views of a widget
show the same. Messages come from a browser: one of an unknown kind, or with a value of the wrong
type, changes nothing.

JupyterLab handles messages in a thread beside the one that runs cells, and a widget that follows a
run has a third. Traits and what ipywidgets holds back to send it at once are not made for that, so
changes take turns: a trait is validated, drawn and sent before another thread changes any widget.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from typing import Any, ClassVar
from uuid import uuid4

import anywidget
import traitlets

from workbench.foundation.errors import WorkbenchError
from workbench.ui.widgets.fallback import with_html
from workbench.views.assets import script, style
from workbench.views.numbers import number

log = logging.getLogger(__name__)

Message = Mapping[str, Any]
_HERE = resources.files("workbench.ui.widgets")
_LONGEST = 4096  # letters of a name
MOST = 1e15
_STYLE = (
    ".wb-widget{padding:4px;height:560px}.wb-widget>div{min-height:0;min-width:0;height:100%}"
    ".wb-widget-note{color:#b3261e;font:13px/1.45 system-ui,sans-serif;margin:4px}"
    ".wb-widget-note[hidden]{display:none}"
)


class MessageError(ValueError):
    """A message that says what it cannot."""


class Pictured(anywidget.AnyWidget):
    """A widget of one or more pictures."""

    kinds: ClassVar[Mapping[str, str]] = {}

    #: one for all, since widgets can be linked, and several can tune one session
    turn: ClassVar = threading.RLock()

    problem = traitlets.Unicode("").tag(sync=True)
    _look = traitlets.Unicode("").tag(sync=True)
    _address = traitlets.Unicode("").tag(sync=True)  # where the browser finds its model
    _view = traitlets.Bytes(b"{}").tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        own = uuid4().hex
        super().__init__(**{"model_id": own, "_address": own, **traits})
        self.on_msg(self._received)

    def __setattr__(self, name: str, value: Any) -> None:
        with self.turn:
            super().__setattr__(name, value)

    @contextmanager
    def hold_sync(self) -> Iterator[None]:
        """Send all that changes within at once."""
        with self.turn, super().hold_sync():
            yield

    @contextmanager
    def hold_trait_notifications(self) -> Iterator[None]:
        """Tell of all that changes within at its end."""
        with self.turn, super().hold_trait_notifications():
            yield

    def _handle_msg(self, msg: Any) -> None:
        with self.turn:
            super()._handle_msg(msg)

    def draw(self, view: Any, trait: str = "_view") -> None:
        """Show a view-model in all views."""
        setattr(self, trait, json.dumps(view, allow_nan=False).encode())

    def html(self) -> str:
        """The widget as it stands, as plain HTML."""
        raise NotImplementedError

    def _received(self, _: object, message: object, __: object) -> None:
        """What was done in a view; what is not possible becomes one sentence below it."""
        kind = message.get("kind") if isinstance(message, Mapping) else None
        name = self.kinds.get(kind) if isinstance(kind, str) else None
        if name is None or not isinstance(message, Mapping):
            log.debug("a message of an unknown kind: %r", kind)
            return
        try:
            getattr(self, name)(message)
        except (MessageError, traitlets.TraitError) as error:
            log.debug("a message was refused: %s", error)
        except WorkbenchError as error:
            self.problem = str(error)
        except Exception as error:
            log.exception("a click on a widget failed")
            self.problem = f"{type(error).__name__}: {error}. Run the cell again."
        else:
            self.problem = ""

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return with_html(super()._repr_mimebundle_(**kwargs), self.html())


def pictures(*parts: tuple[str, str, str]) -> str:
    """The browser half of a widget.

    Args:
        parts: (trait with the view-model, ES module, its function that mounts the picture).
    """
    source = script(*(module for _, module, _ in parts))
    listed = ", ".join(f'["{trait}", {mount}]' for trait, _, mount in parts)
    adapter = (_HERE / "adapter.js").read_text(encoding="utf-8")
    return f"{source}\nconst PARTS = [{listed}];\n{adapter}"


def look(extra: str = "") -> str:
    """The style of the pictures and of the box around them."""
    return style() + _STYLE + extra


def text(message: Message, key: str) -> str:
    """A text of a message.

    Raises:
        MessageError: it is none, or far too long.
    """
    value = message.get(key)
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise MessageError(f"'{key}' is no text")
    return value


def whole(message: Message, key: str) -> int:
    """A whole number of a message.

    Raises:
        MessageError: it is none.
    """
    value = real(message, key)
    if value != int(value):
        raise MessageError(f"'{key}' is no whole number")
    return int(value)


def whole_or_none(message: Message, key: str) -> int | None:
    """A whole number of a message, or None where it says so."""
    return None if message.get(key) is None else whole(message, key)


def real(message: Message, key: str) -> float:
    """A number of a message.

    Raises:
        MessageError: it is none, or no finite one.
    """
    value = number(message.get(key))
    if value is None or abs(value) > MOST:
        raise MessageError(f"'{key}' is no number")
    return value
