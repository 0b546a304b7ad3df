"""The layer table and the inspector in a notebook cell.

widget = LayersWidget(run)        # or a session, which is diagnosed first
widget.selected                   # follows clicks
widget.selected = "head"          # and leads them
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import traitlets

from workbench.graph.outline import outline
from workbench.session.runs import Run
from workbench.session.session import Session
from workbench.ui.widgets.base import (
    Message,
    MessageError,
    Pictured,
    look,
    pictures,
    real,
    text,
    whole,
    whole_or_none,
)
from workbench.ui.widgets.fallback import table_html
from workbench.ui.widgets.subject import Subject, of_run, of_session
from workbench.views import drawing, inspector, layers
from workbench.views.still import graph_svg

_STYLE = (
    ".wb-widget-layers{display:grid;gap:16px;"
    "grid-template-columns:minmax(220px,320px) minmax(0,1fr)}"
)


class LayersWidget(Pictured):
    """Layers, worst first; the selected one in detail, with the grid that can be dragged.

    Args:
        subject: a finished run, or a session.
        weights, activations: bits for a session that is not quantized yet.

    Attributes:
        selected: name of a layer.
        channel: of its weights, where one is looked at alone.
        measure: what the layers are coloured and sorted by.
        form: "table" or "graph".
    """

    _esm = pictures(("_table", "layers", "mountLayers"), ("_detail", "inspector", "mountInspector"))
    _css = look(_STYLE)
    kinds: ClassVar[Mapping[str, str]] = {
        "layer": "_choose",
        "channel": "_choose_channel",
        "weight": "_choose_weight",
        "measure": "_choose_measure",
        "form": "_choose_form",
        "fold": "_fold",
        "clip": "_answer",
    }

    selected = traitlets.Unicode("").tag(sync=True)
    channel = traitlets.Int(None, allow_none=True).tag(sync=True)
    measure = traitlets.Unicode("weights").tag(sync=True)
    form = traitlets.Enum(("table", "graph"), "table").tag(sync=True)
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
        self._order = layers.table(subject.records)["order"]
        self._weight: int | None = None
        self._outline = outline(subject.model.graph).record()
        self._toggled: tuple[str, ...] = ()
        self._shown: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        worst = layers.worst(subject.records) or ""
        super().__init__(**{"_look": "layers", "selected": worst, **traits})
        self._reveal()
        self._draw()

    @property
    def names(self) -> list[str]:
        """Layers in the order of the table."""
        return self._order["weights"]

    @traitlets.validate("selected")
    def _known(self, proposal: Any) -> str:
        if proposal["value"] and proposal["value"] not in self.names:
            known = ", ".join(self.names[:8])
            raise traitlets.TraitError(f"there is no layer '{proposal['value']}'; known: {known}")
        return proposal["value"]

    @traitlets.validate("channel")
    def _possible(self, proposal: Any) -> int | None:
        count, index = self._channels(), proposal["value"]
        if index is not None and not 0 <= index < count:
            raise traitlets.TraitError(f"'{self.selected}' has channels 0 to {count - 1}")
        return index

    @traitlets.validate("measure")
    def _measured(self, proposal: Any) -> str:
        if proposal["value"] not in self._order:
            raise traitlets.TraitError(f"measure is one of {', '.join(self._order)}")
        return proposal["value"]

    @traitlets.observe("selected")
    def _selected_changed(self, _: object) -> None:
        self._weight, self.channel = None, None
        self._reveal()
        self._draw()

    @traitlets.observe("channel")
    def _channel_changed(self, _: object) -> None:
        self._weight = None
        self._draw()

    @traitlets.observe("measure", "form")
    def _looked_at(self, _: object) -> None:
        self._draw()

    def _reveal(self) -> None:
        """Open the blocks of the graph that hide the selected layer."""
        hidden = drawing.around(self._outline, self.selected, self._toggled)
        self._toggled = drawing.toggle(self._toggled, hidden)

    def _draw(self) -> None:
        subject = self.subject
        detail = inspector.inspector(
            subject.name,
            subject.records,
            subject.histograms,
            self.selected,
            self._one_channel(),
            subject.before,
            self.measure,
        )
        with self.hold_sync():
            self.draw({**self._table_shown(), "selected": self.selected}, "_table")
            self.draw(detail, "_detail")

    def _table_shown(self) -> dict[str, Any]:
        """The table or the drawing; another layer that is selected changes neither."""
        looked_at = (self.measure, self.form, self._toggled)
        if self._shown is None or self._shown[0] != looked_at:
            graph = drawing.drawing(self._outline, self._toggled) if self.form == "graph" else None
            table = layers.table(
                self.subject.records, measure=self.measure, form=self.form, graph=graph
            )
            self._shown = (looked_at, table)
        return self._shown[1]

    def _channels(self) -> int:
        """How many channels of the selected weight can be looked at alone."""
        site, model = self._weight_site(), self.subject.model
        return 0 if site is None else model.weight(site).shape[self._axis(site)]

    def _axis(self, site: str) -> int:
        """Where the output channels of a weight lie."""
        from workbench.analysis.channels import weight_axis

        return weight_axis(self.subject.model, self.subject.model.sites[site])

    def _one_channel(self) -> dict[str, Any] | None:
        from workbench.analysis.distributions import channel_record
        from workbench.analysis.weights import channel_weights

        site = self._weight_site()
        if self.channel is None or site is None:
            return None
        weight = self.subject.model.weight(site).detach()
        frozen = self.subject.model.quantizer(site).frozen(weight)
        axis = self._axis(site)
        record = channel_record(weight, frozen, self.channel, axis)
        cells = channel_weights(weight, frozen, self.channel, self._weight or 0, axis)
        chosen = {"weights": cells.record(), "weight": self._weight}
        return {"index": self.channel, "record": record, **chosen}

    def _weight_site(self) -> str | None:
        sites = self.subject.model.of_kind("weight")
        return next((site.name for site in sites if site.layer == self.selected), None)

    def _choose(self, message: Message) -> None:
        """Another layer, or up from a channel of this one."""
        name = text(message, "layer")
        if name not in self.names:
            raise MessageError(f"there is no layer '{name}'")
        if name != self.selected:
            self.selected = name
        else:
            self.channel = None

    def _choose_channel(self, message: Message) -> None:
        self.channel = whole_or_none(message, "channel")

    def _choose_weight(self, message: Message) -> None:
        index = whole(message, "weight")
        site = self._weight_site()
        if self.channel is None or site is None:
            raise MessageError("there is no channel to choose a weight of")
        size = self.subject.model.weight(site).numel() // self._channels()
        if not 0 <= index < size:
            raise MessageError(f"there is no weight {index}")
        self._weight = index
        self._draw()

    def _choose_measure(self, message: Message) -> None:
        self.measure = text(message, "measure")

    def _choose_form(self, message: Message) -> None:
        self.form = "graph" if message.get("form") == "graph" else "table"

    def _fold(self, message: Message) -> None:
        """Open or close a block of the graph, or all of them."""
        name = message.get("block")
        if name is None:
            self._toggled = tuple(drawing.everything(self._outline, message.get("open") is True))
        else:
            self._toggled = drawing.toggle(self._toggled, [str(name)])
        self._draw()

    def _answer(self, message: Message) -> None:
        """Exact numbers for a grid that was dragged."""
        self.send({"id": message.get("id"), "value": self._exact(message)})

    def _exact(self, message: Message) -> dict[str, float] | None:
        from workbench.views.exact import measure

        site = text(message, "site")
        model = self.subject.model
        if site not in model.sites or model.sites[site].kind != "weight":
            return None
        weight = model.weight(site).detach()
        frozen = model.quantizer(site).frozen(weight)
        scale, zero = real(message, "scale"), whole(message, "zero_point")
        return measure(weight, frozen, whole_or_none(message, "channel"), scale, zero)

    def html(self) -> str:
        """The table of all layers."""
        return table_html(self.subject.name, self.subject.records)


class GraphWidget(LayersWidget):
    """The network as a drawing: blocks open and close, colours are a measure of each layer."""

    _esm = pictures(("_table", "layers", "mountLayers"))

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"form": "graph", "_look": "graph", **options})

    def html(self) -> str:
        """The drawing, with all blocks open."""
        whole = drawing.drawing(self._outline, drawing.everything(self._outline, opened=True))
        table = layers.table(self.subject.records, measure=self.measure)
        return graph_svg(self.subject.name, whole, table)
