"""Bits, rounding and clip of each layer, by hand; the session follows.

widget = TuneWidget(session)
widget.tuned = {"conv1": {"bits": 3}, "head": {"method": "nearest", "share": 0.8}}
session.what_if("conv1")      # at 3 bits
session.quantize(weights=4)   # a run with these layers as they are tuned
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import traitlets

from workbench.foundation.errors import WorkbenchError
from workbench.graph.sites import Layer, Site, layers
from workbench.maths.calibrators.registry import serving
from workbench.quantizers.base import Frozen
from workbench.session.session import Session
from workbench.session.tuning import INHERITED, Tuning, all_tuned
from workbench.session.whatif import EXAMPLES, NEAREST, methods
from workbench.ui.widgets import grids
from workbench.ui.widgets.base import (
    Message,
    MessageError,
    Pictured,
    look,
    pictures,
    real,
    text,
    whole,
)
from workbench.ui.widgets.fallback import tuning_html
from workbench.views import tuning

WIDTHS = tuple(range(1, 9))
LEAST = 0.05  # share of a range
_STYLE = (
    ".wb-widget-tune{display:grid;gap:20px;"
    "grid-template-columns:minmax(520px,1.6fr) minmax(250px,1fr)}"
    ".wb-widget.wb-widget-tune{height:420px}"
    "@media (max-width:900px){.wb-widget.wb-widget-tune{grid-template-columns:minmax(0,1fr);"
    "grid-template-rows:minmax(0,1fr) 220px;height:640px}}"
)


class TuneWidget(Pictured):
    """A row of controls for each layer, and the selected one's weights under its grid.

    Args:
        session: with data; it is tuned.
        weights: bits of the layers that name none.
        examples: that the inputs' moments come from.

    Attributes:
        tuned: what layers are asked for, by layer: `bits`, `method`, `calibrator`, `share`.
        selected: the layer whose histogram is shown.
    """

    _esm = pictures(("_view", "tune", "mountTune"), ("_detail", "histogram", "mountHistogram"))
    _css = look(_STYLE)
    kinds: ClassVar[Mapping[str, str]] = {
        "tune": "_change",
        "untune": "_forget",
        "layer": "_choose",
        "clip": "_dragged",
        "reset": "_whole",
    }

    tuned = traitlets.Dict().tag(sync=True)
    selected = traitlets.Unicode("").tag(sync=True)
    _detail = traitlets.Bytes(b"{}").tag(sync=True)

    def __init__(
        self, session: Session, weights: int = 4, examples: int = EXAMPLES, **traits: Any
    ) -> None:
        self.session, self._weights, self._examples = session, weights, examples
        sites = grids.weight_sites(session)
        answers = session.what_if("", weights, method=NEAREST, calibrator="mse", share=1.0,
                                  examples=examples)  # fmt: skip
        found = {layer.name: layer for layer in layers(session.graph)}
        self._layers: dict[str, tuple[Layer, Site]] = {}
        for answer in answers:  # of several weights of a layer, the first stands for it
            self._layers.setdefault(answer.layer, (found[answer.layer], sites[answer.weight]))
        self._usual = {a.layer: a.sqnr_db for a in reversed(answers)}
        self._now: dict[str, float] = {}
        given = {"_look": "tune", "selected": next(iter(self._layers), "")}
        super().__init__(**{**given, "tuned": _plain(session.tuned), **traits})
        self._draw()

    @property
    def names(self) -> list[str]:
        """Layers that can be tuned, in the order of the network."""
        return list(self._layers)

    def refresh(self) -> None:
        """Show what the session was tuned to elsewhere."""
        self.tuned = _plain(self.session.tuned)

    def html(self) -> str:
        """The table."""
        return tuning_html(self._table())

    @traitlets.validate("tuned")
    def _possible(self, proposal: Any) -> dict[str, Any]:
        """What the session makes of it; a cell that runs meanwhile sees all of it or none."""
        try:
            self.session.tuned = all_tuned(self.session, proposal["value"])
        except (WorkbenchError, TypeError) as error:
            raise traitlets.TraitError(str(error)) from None
        return _plain(self.session.tuned)

    @traitlets.validate("selected")
    def _known(self, proposal: Any) -> str:
        if proposal["value"] not in self._layers:
            known = ", ".join(self.names[:8])
            raise traitlets.TraitError(f"there is no layer '{proposal['value']}'; known: {known}")
        return proposal["value"]

    @traitlets.observe("tuned", "selected")
    def _changed(self, change: Any) -> None:
        if change["name"] == "tuned":
            old = change["old"] if isinstance(change["old"], dict) else {}
            new = change["new"]
            for name in {*old, *new}:
                if old.get(name) != new.get(name):
                    self._now.pop(name, None)
        self._draw()

    def _draw(self) -> None:
        if self.selected not in self._layers:
            return
        with self.hold_sync():
            self.draw(self._table())
            self.draw(self._histogram(), "_detail")

    def _table(self) -> dict[str, Any]:
        choices = {
            "bits": WIDTHS,
            "method": [INHERITED, *methods()],
            "calibrator": serving("weights"),
        }
        rows = [self._row(name, *found) for name, found in self._layers.items()]
        return tuning.tuning(rows, self.selected, choices)

    def _row(self, name: str, layer: Layer, site: Site) -> dict[str, Any]:
        own = self._tuning(name)
        if name not in self._now:
            asked = {"method": own.method or NEAREST, "examples": self._examples}
            bits = own.bits or self._weights
            self._now[name] = self.session.what_if(site.name, bits, **asked)[0].sqnr_db
        return {
            **own.model_dump(),
            "layer": name,
            "op": layer.op,
            "parameters": math.prod(site.shape),
            "bits": own.bits or self._weights,
            "tuned": name in self.session.tuned,
            "sqnr_db": self._now[name],
            "usual_db": self._usual[name],
        }

    def _tuning(self, name: str) -> Tuning:
        return self.session.tuned.get(name, Tuning())

    def _grid(self) -> tuple[Site, Any, Frozen]:
        """The selected weight on the range that its calibrator finds, all of it."""
        site, own = self._layers[self.selected][1], self._tuning(self.selected)
        weight = self.session.graph.parameter(site.tensor).detach()
        return (
            site,
            weight,
            grids.fitted(weight, site, own.bits or self._weights, own.calibrator),
        )

    def _histogram(self) -> dict[str, Any]:
        site, weight, frozen = self._grid()
        share = self._tuning(self.selected).share
        view = grids.view(site.name, weight, frozen, None, share)
        return {**view, "title": self.selected, "channels": 0}

    def _tune(self, name: str, **changes: Any) -> None:
        self.session.tune(name, **changes)
        self.tuned = _plain(self.session.tuned)

    def _change(self, message: Message) -> None:
        name, key = text(message, "layer"), text(message, "key")
        if key not in ("bits", "method", "calibrator"):
            raise MessageError(f"there is no control '{key}'")
        value = whole(message, "value") if key == "bits" else text(message, "value")
        self._tune(name, **{key: value})

    def _forget(self, message: Message) -> None:
        """Leave a layer to the recipe, or all."""
        name = text(message, "layer")
        kept = {n: v for n, v in _plain(self.session.tuned).items() if name and n != name}
        self.tuned = kept

    def _choose(self, message: Message) -> None:
        self.selected = text(message, "layer")

    def _dragged(self, message: Message) -> None:
        """An end of the grid was let go: nearest rounding, in that part of the range."""
        _, weight, frozen = self._grid()
        share = real(message, "scale") / grids.step(frozen, None)
        share = round(min(1.0, max(LEAST, share)), 4)
        own = self._tuning(self.selected)
        self._tune(self.selected, method=NEAREST, calibrator=own.calibrator, share=share)
        exact = grids.exact(weight, frozen, None, share)
        self.send({"id": message.get("id"), "value": exact})
        self._draw()  # also where the share did not change: back to it

    def _whole(self, _: Message) -> None:
        if self._tuning(self.selected).share != 1:
            self._tune(self.selected, share=1.0)


def _plain(tunings: Mapping[str, Tuning]) -> dict[str, Any]:
    """What is asked, without what is usual."""
    return {name: each.model_dump(exclude_defaults=True) for name, each in tunings.items()}
