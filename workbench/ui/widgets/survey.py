"""The survey's two maps in a notebook cell: what acts where, and which to take.

widget = SurveyWidget()
widget.cell = "rounding/block_error"          # follows clicks too
widget.show("method", "brecq")                # one of its methods, as a recipe on a sample
widget.constraint = "w2a2"                    # of the adviser, as data and model are
widget.advice.reasons, widget.advice.recipe
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import traitlets

from workbench.foundation.errors import WorkbenchError
from workbench.lessons.survey import AXES, FIRST_CELL, Visit
from workbench.session.advice import Advice
from workbench.session.exemplar import Exemplar
from workbench.ui.widgets.base import Message, Pictured, look, pictures, text
from workbench.ui.widgets.fallback import survey_html
from workbench.views.survey import survey


class SurveyWidget(Pictured):
    """Stages × signals with the methods of each cell, and the adviser.

    Attributes:
        cell: "stage/signal" that is looked at.
        data, model, constraint: what the adviser is asked; see `workbench.session.guide`.
    """

    _esm = pictures(("_view", "survey", "mountSurvey"))
    _css = look(".wb-widget.wb-widget-survey{height:760px}")
    kinds: ClassVar[Mapping[str, str]] = {"cell": "_look_at", "method": "_opened", "ask": "_asked"}

    cell = traitlets.Unicode(FIRST_CELL).tag(sync=True)
    data = traitlets.Unicode("some").tag(sync=True)
    model = traitlets.Unicode("cnn").tag(sync=True)
    constraint = traitlets.Unicode("w4a4").tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        self._visit = Visit()
        super().__init__(**{"_look": "survey", **traits})
        self._draw()

    @property
    def advice(self) -> Advice:
        """What the adviser says."""
        return self._visit.advice()

    @property
    def opened(self) -> Exemplar | None:
        """What was opened from a cell, with its recipe and sample; None before."""
        return self._visit.opened()

    def show(self, kind: str, name: str) -> Exemplar:
        """Show something as a recipe on a sample.

        Raises:
            RecipeError: nothing of this kind and name is registered.
        """
        self._visit = replace(self._visit, kind=kind, name=name)
        self._draw()
        found = self._visit.opened()
        assert found is not None
        return found

    def html(self) -> str:
        """The matrix, and what the adviser says."""
        return survey_html(survey(self._visit))

    @traitlets.validate("cell", "data", "model", "constraint")
    def _known(self, proposal: Any) -> str:
        try:
            replace(self._visit, **{proposal["trait"].name: proposal["value"]})
        except WorkbenchError as error:
            raise traitlets.TraitError(str(error)) from None
        return proposal["value"]

    @traitlets.observe("cell", "data", "model", "constraint")
    def _changed(self, change: Any) -> None:
        closed = {"kind": "", "name": ""} if change["name"] == "cell" else {}
        self._visit = replace(self._visit, **{change["name"]: change["new"]}, **closed)
        self._draw()

    def _draw(self) -> None:
        self.draw(survey(self._visit))

    def _look_at(self, message: Message) -> None:
        self.cell = text(message, "cell")

    def _opened(self, message: Message) -> None:
        self.show(text(message, "of"), text(message, "name"))

    def _asked(self, message: Message) -> None:
        asked = {axis: text(message, axis) for axis in AXES if axis in message}
        with self.hold_trait_notifications():
            for axis, value in asked.items():
                setattr(self, axis, value)
