"""Bits where they matter: a slider from the smallest network to the most faithful one.

widget = ParetoWidget(session)     # measures what each width does to each layer
widget.chosen = "uniform:2"        # follows the slider too
widget.choice.kl, widget.recipe
widget.use()                       # tunes the session to these bits, as the button does
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import traitlets

from workbench.graph.sites import layers
from workbench.session.allocation import Allocation, Choice
from workbench.session.recipe import Recipe
from workbench.session.session import Session
from workbench.ui.widgets.base import Message, Pictured, look, pictures, text
from workbench.ui.widgets.fallback import pareto_html
from workbench.views import allocation, strings

POINTS = 13  # choices between the fewest bits and the most


class ParetoWidget(Pictured):
    """Average bits against the distance to the float network, and which layer gets how many.

    Args:
        session: with data.
        found: an allocation with points, such as `session.allocate(points=13)` gives; by default
            it is made now.
        points: of it, if so; further options are those of `session.allocate`.

    Attributes:
        chosen: key of a choice: "point:K" of the mixed ones, "uniform:K" of those of one width.
    """

    _esm = pictures(("_view", "bits", "mountBits"))
    _css = look(".wb-widget.wb-widget-pareto{height:420px}")
    kinds: ClassVar[Mapping[str, str]] = {"choice": "_choose", "use": "_use"}

    chosen = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        session: Session,
        found: Allocation | None = None,
        points: int = POINTS,
        **options: Any,
    ) -> None:
        self.session = session
        self.allocation = found or session.allocate(points=points, **options)
        own = {
            weight.name: layer.name for layer in layers(session.graph) for weight in layer.weights
        }
        weights = {name: own.get(name, name) for name in self.allocation.chosen.bits}
        record = self.allocation.record()
        asked = self.allocation.base.weights.bits
        words = {
            "title": strings.BITS_CURVE,
            "use": strings.BITS_USE,
            "help": strings.BITS_TUNE_HELP,
        }
        self._found = {**allocation.explorer(record, weights, asked), **words}
        self._keys = [each["key"] for each in self._found["choices"]]
        super().__init__(_look="pareto", chosen=self._keys[self._found["first"]])
        self._draw()

    @property
    def choice(self) -> Choice:
        """The chosen one: its bits, costs and measured distance to float."""
        kind, _, index = self.chosen.partition(":")
        offered = {"point": self.allocation.points, "uniform": self.allocation.uniform}
        return offered[kind][int(index)]

    @property
    def recipe(self) -> Recipe:
        """The recipe with the chosen bits."""
        return self.allocation.recipe_of(self.choice)

    def use(self) -> None:
        """Tune the session to the chosen bits."""
        with self.turn:
            for name, bits in self.choice.bits.items():
                pattern = self.allocation.patterns[name].removeprefix("tensor:")
                self.session.tune(pattern, bits=int(bits))

    def html(self) -> str:
        """The choices by cost and harm."""
        return pareto_html(self._found, self.chosen)

    @traitlets.validate("chosen")
    def _known(self, proposal: Any) -> str:
        if proposal["value"] not in self._keys:
            known = ", ".join(self._keys[:6])
            raise traitlets.TraitError(f"there is no choice '{proposal['value']}'; known: {known}")
        return proposal["value"]

    @traitlets.observe("chosen")
    def _draw(self, _: object = None) -> None:
        self.draw({**self._found, "chosen": self.chosen})

    def _choose(self, message: Message) -> None:
        self.chosen = text(message, "choice")

    def _use(self, message: Message) -> None:
        self.chosen = text(message, "choice")
        self.use()
