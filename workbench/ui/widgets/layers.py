"""The layer table and the inspector in a notebook cell.

widget = LayersWidget(run)        # or a session, which is diagnosed first
widget.selected                   # follows clicks
widget.selected = "head"          # and leads them
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import anywidget
import traitlets

from workbench.graph.outline import outline
from workbench.session.runs import Run
from workbench.session.session import Session
from workbench.ui.widgets.fallback import table_html, with_html
from workbench.ui.widgets.subject import Subject, of_run, of_session
from workbench.views import drawing, inspector, layers
from workbench.views.assets import script, style

_HERE = resources.files("workbench.ui.widgets")
_STYLE = """
.wb-widget{display:grid;grid-template-columns:minmax(220px,320px) minmax(0,1fr);gap:16px;\
height:560px;padding:4px}
.wb-widget>div{min-height:0;min-width:0}
"""


class LayersWidget(anywidget.AnyWidget):
    """Layers, worst first; the selected one in detail, with the grid that can be dragged.

    Args:
        subject: a finished run, or a session.
        weights, activations: bits for a session that is not quantized yet.
    """

    _esm = script("layers", "inspector") + (_HERE / "layers.js").read_text(encoding="utf-8")
    _css = style() + _STYLE

    selected = traitlets.Unicode("").tag(sync=True)
    _table = traitlets.Bytes(b"{}").tag(sync=True)
    _detail = traitlets.Bytes(b"{}").tag(sync=True)

    def __init__(
        self,
        subject: Run | Session | Subject,
        weights: int = 4,
        activations: int | None = 8,
        **traits: Any,
    ) -> None:
        if isinstance(subject, Run):
            subject = of_run(subject)
        elif isinstance(subject, Session):
            subject = of_session(subject, weights, activations)
        self.subject = subject
        self._channel: int | None = None
        self._weight: int | None = None
        self._form = "table"
        self._outline = outline(subject.model.graph).record()
        self._toggled: tuple[str, ...] = ()
        super().__init__(**traits)
        self.on_msg(self._received)
        if not self.selected:
            self.selected = layers.worst(subject.records) or ""
        self._draw()

    @property
    def names(self) -> list[str]:
        """Layers in the order of the table."""
        return layers.table(self.subject.records)["order"]["weights"]

    @traitlets.observe("selected")
    def _selected_changed(self, _: object) -> None:
        self._channel = self._weight = None
        hidden = drawing.around(self._outline, self.selected, self._toggled)
        self._toggled = drawing.toggle(self._toggled, hidden)
        self._draw()

    def _draw(self) -> None:
        subject = self.subject
        graph = drawing.drawing(self._outline, self._toggled) if self._form == "graph" else None
        table = layers.table(subject.records, selected=self.selected, form=self._form, graph=graph)
        detail = inspector.inspector(
            subject.name,
            subject.records,
            subject.histograms,
            self.selected,
            self._one_channel(),
            subject.before,
        )
        with self.hold_sync():
            self._table = json.dumps(table).encode()
            self._detail = json.dumps(detail).encode()

    def _one_channel(self) -> dict[str, Any] | None:
        from workbench.analysis.distributions import channel_record
        from workbench.analysis.weights import channel_weights

        site = self._weight_site()
        if self._channel is None or site is None:
            return None
        weight = self.subject.model.weight(site).detach()
        frozen = self.subject.model.quantizer(site).frozen(weight)
        record = channel_record(weight, frozen, self._channel)
        cells = channel_weights(weight, frozen, self._channel, self._weight or 0).record()
        chosen = {"weights": cells, "weight": self._weight}
        return {"index": self._channel, "record": record, **chosen}

    def _weight_site(self) -> str | None:
        sites = self.subject.model.of_kind("weight")
        return next((site.name for site in sites if site.layer == self.selected), None)

    def _received(self, _: object, message: dict[str, Any], __: object) -> None:
        """A channel was chosen, or a handle was let go."""
        if message.get("kind") == "channel":
            channel = message.get("channel")
            self._channel, self._weight = None if channel is None else int(channel), None
            self._draw()
        elif message.get("kind") == "layer":  # up from one of its channels
            self._channel = self._weight = None
            self._draw()
        elif message.get("kind") == "weight":
            self._weight = int(message["weight"])
            self._draw()
        elif message.get("kind") == "form":
            self._form = "graph" if message.get("form") == "graph" else "table"
            self._draw()
        elif message.get("kind") == "fold":
            self._fold(message)
        elif message.get("kind") == "clip":
            self.send({"id": message.get("id"), "value": self._exact(message)})

    def _fold(self, message: dict[str, Any]) -> None:
        """Open or close a block of the graph, or all of them."""
        name = message.get("block")
        if name is None:
            self._toggled = tuple(drawing.everything(self._outline, message.get("open") is True))
        else:
            self._toggled = drawing.toggle(self._toggled, [str(name)])
        self._draw()

    def _exact(self, message: dict[str, Any]) -> dict[str, float] | None:
        from workbench.views.exact import measure

        site = str(message.get("site"))
        model = self.subject.model
        if site not in model.sites or model.sites[site].kind != "weight":
            return None
        weight = model.weight(site).detach()
        frozen = model.quantizer(site).frozen(weight)
        scale, zero = float(message["scale"]), int(message["zero_point"])
        return measure(weight, frozen, message.get("channel"), scale, zero)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, with a plain table for viewers that run no widgets."""
        fallback = table_html(self.subject.name, self.subject.records)
        return with_html(super()._repr_mimebundle_(**kwargs), fallback)
