"""What a run learns at each site, in a notebook cell.

widget = SignalsWidget(run)       # finished, or still being made
widget.refresh()                  # look again
"""

from __future__ import annotations

import json
from html import escape
from importlib import resources
from typing import Any

import anywidget
import traitlets

from workbench.session.runs import Run
from workbench.ui.widgets.fallback import with_html
from workbench.views.assets import script, style
from workbench.views.signals import line, signals

_HERE = resources.files("workbench.ui.widgets")
_STYLE = ".wb-widget-signals{height:560px;padding:4px}"


class SignalsWidget(anywidget.AnyWidget):
    """Losses, gradients, codes and ranges, step by step, with what went wrong on top.

    Args:
        run: finished, stopped or running.
    """

    _esm = script("signals") + (_HERE / "signals.js").read_text(encoding="utf-8")
    _css = style() + _STYLE

    _view = traitlets.Bytes(b"{}").tag(sync=True)

    def __init__(self, run: Run, **traits: Any) -> None:
        self.run = run
        super().__init__(**traits)
        self.refresh()

    @property
    def concerns(self) -> list[str]:
        """What went wrong, as sentences."""
        return [concern["text"] for concern in json.loads(self._view)["concerns"]]

    def refresh(self) -> None:
        """Read the run's events again."""
        run = self.run
        found = signals(run.events(), run.files.read_progress(), run.state, run.name)
        self._view = json.dumps(found, allow_nan=False).encode()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, with its last line as text for viewers that run no widgets."""
        words = [self.run.name, line(self.run.events()), *self.concerns]
        html = "".join(f"<p>{escape(word)}</p>" for word in words if word)
        return with_html(super()._repr_mimebundle_(**kwargs), html)
