"""What a run learns at each site, in a notebook cell, while it learns and afterwards.

job = session.start(session.recipe(3, 8, "brecq"), out="runs/mine")
widget = SignalsWidget(job)             # follows the job, which has a process of its own
widget = SignalsWidget("runs/mine")     # the same after the kernel was started again
widget.state, widget.concerns
widget.selected = "conv1"               # a layer, a block or a site; follows clicks too
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import traitlets

from workbench.foundation.errors import WorkbenchError
from workbench.session.jobs import Job
from workbench.session.runs import Run
from workbench.ui.widgets.base import Message, Pictured, look, pictures, text
from workbench.ui.widgets.fallback import signals_html
from workbench.views.signals import signals

PAUSE = 0.5  # seconds between two looks at a run that is being made


class SignalsWidget(Pictured):
    """Losses, gradients, codes and ranges, step by step, with what went wrong on top.

    Args:
        run: a run or a job, or its folder: finished, stopped or running.

    Attributes:
        selected: unit or site that is shown in detail; "" for the one that learns.
        state: of the run.
        fraction: how far it is, 0 to 1.
    """

    _esm = pictures(("_view", "signals", "mountSignals"))
    _css = look()
    kinds: ClassVar[Mapping[str, str]] = {"site": "_choose"}

    selected = traitlets.Unicode("").tag(sync=True)
    state = traitlets.Unicode("").tag(sync=True)
    fraction = traitlets.Float(0.0).tag(sync=True)

    def __init__(self, run: Run | Job | str | Path, **traits: Any) -> None:
        run = run.run if isinstance(run, Job) else run
        self.run = run if isinstance(run, Run) else Run(run)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._found = self._read(self.run.state)
        super().__init__(**{"_look": "signals", **traits})
        self.refresh()
        self.follow()

    @property
    def concerns(self) -> list[str]:
        """What went wrong, as sentences."""
        return [concern["text"] for concern in self._found["concerns"]]

    @property
    def names(self) -> list[str]:
        """Units, each with its sites, as far as they have learned."""
        units = self._found["units"]
        return [n for unit in units for n in (unit["name"], *(s["name"] for s in unit["sites"]))]

    def refresh(self) -> None:
        """Read the run's events again."""
        state = self.run.state  # first: what happens while events are read is seen the next time
        self._found = self._read(state)
        with self.hold_sync():
            self.state = state
            self.fraction = 1.0 if state == "done" else self._found["fraction"]
            self._draw()

    def follow(self) -> None:
        """Look again and again while the run is being made, such as after it was resumed."""
        following = self._thread is not None and self._thread.is_alive()
        if self.run.state == "running" and not following:
            self._thread = threading.Thread(target=self._follow, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Look no more; the run goes on."""
        self._closed.set()
        super().close()

    def html(self) -> str:
        """What the run learned, as curves and sentences."""
        return signals_html(self._found)

    @traitlets.validate("selected")
    def _known(self, proposal: Any) -> str:
        if proposal["value"] and proposal["value"] not in self.names:
            known = ", ".join(self.names[:8]) or "nothing yet"
            raise traitlets.TraitError(f"'{proposal['value']}' has not learned; known: {known}")
        return proposal["value"]

    @traitlets.observe("selected")
    def _draw(self, _: object = None) -> None:
        self.draw({**self._found, "selected": self.selected})

    def _read(self, state: str) -> dict[str, Any]:
        run = self.run
        return signals(run.events(), run.files.read_progress(), state, run.name)

    def _choose(self, message: Message) -> None:
        self.selected = text(message, "name")

    def _follow(self) -> None:
        while not self._closed.wait(PAUSE):
            try:
                self.refresh()
            except WorkbenchError as error:  # the run's folder is gone
                self.problem = str(error)
                return
            if self.state != "running":
                return
