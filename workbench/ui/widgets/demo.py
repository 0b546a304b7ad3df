"""A demo in a notebook cell.

widget = DemoWidget("lsq", bits=3)
widget.options = {"rate": 0.1}    # follows the controls, and leads them
widget.guess = "it settles"       # as if it was clicked
widget.answer                     # computed from the data
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import traitlets

from workbench.foundation.errors import RecipeError
from workbench.lessons.base import Answer
from workbench.lessons.registry import DEMOS, make
from workbench.lessons.sitting import Sitting
from workbench.ui.widgets.base import Message, Pictured, look, pictures
from workbench.ui.widgets.fallback import demo_html
from workbench.views.lesson import view

_STYLE = (
    ".wb-widget.wb-widget-demo{height:auto;max-width:1200px}.wb-widget-demo .wb-lesson{height:auto}"
)


class DemoWidget(Pictured):
    """A question, controls and pictures of one demo.

    Args:
        name: of the demo.
        options: those that differ from its defaults.
    """

    _esm = pictures(("_view", "lesson", "mountLesson"))
    _css = look(_STYLE)
    kinds: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("set", "toggle", "guess", "reveal", "again", "reset"), "_sat"
    )

    options = traitlets.Dict()
    guess = traitlets.Any(allow_none=True)

    def __init__(self, name: str, **options: Any) -> None:
        chosen = DEMOS.parsed(name, options).model_dump(exclude_defaults=True)
        self._sitting = Sitting(DEMOS[name].name, chosen)
        super().__init__(_look="demo")
        self._take(self._sitting)

    @property
    def name(self) -> str:
        """Name of the demo."""
        return self._sitting.demo

    @property
    def answer(self) -> Answer:
        """The right answer for the present options."""
        return make(self.name, self._sitting.options).answer()

    @property
    def right(self) -> bool | None:
        """Whether the guess is right; None before it."""
        demo = make(self.name, self._sitting.options)
        guess = self._sitting.guess
        return None if guess is None else demo.question().accepts(guess, demo.answer())

    def reveal(self) -> None:
        """Show everything without a guess."""
        self._take(self._sitting.after({"kind": "reveal"}))

    @traitlets.validate("options")
    def _valid_options(self, proposal: Any) -> dict[str, Any]:
        return DEMOS.parsed(self.name, proposal["value"]).model_dump(exclude_defaults=True)

    @traitlets.observe("options")
    def _options_changed(self, change: Any) -> None:
        if change["new"] != self._sitting.options:
            self._take(Sitting(self.name, change["new"], self.guess, self._sitting.revealed))

    @traitlets.observe("guess")
    def _guess_changed(self, change: Any) -> None:
        if change["new"] == self._sitting.guess:
            return
        kind = "again" if change["new"] is None else "guess"
        after = self._sitting.after({"kind": kind, "value": change["new"]})
        if after.problem:
            self.guess = self._sitting.guess
            raise RecipeError(after.problem)
        self._take(after)

    def _sat(self, message: Message) -> None:
        """A control was moved, or a guess was made."""
        self._take(self._sitting.after(message))

    def _take(self, sitting: Sitting) -> None:
        self._sitting = sitting
        with self.hold_trait_notifications():
            self.options = dict(sitting.options)
            self.guess = sitting.guess
        self.draw({**view(sitting), "single": True})

    def html(self) -> str:
        """Question and pictures."""
        return demo_html(self._sitting)
