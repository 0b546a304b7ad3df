"""The weights of a layer with a grid over them, whose ends can be dragged.

widget = HistogramWidget(session, "conv1", bits=3)
widget.clip = 0.8          # the grid's step, as a share of the one that the calibrator found
widget.exact["sqnr_db"]    # of the weights themselves, wherever the ends are
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import traitlets

from workbench.foundation.errors import unknown_name
from workbench.graph.sites import Site
from workbench.quantizers.base import Frozen
from workbench.session.runs import Run
from workbench.session.session import Session
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
    whole_or_none,
)
from workbench.ui.widgets.fallback import histogram_html
from workbench.views import strings

WIDTHS = tuple(range(2, 9))
LEAST, MOST = 0.01, 20.0  # of the step


class HistogramWidget(Pictured):
    """One layer's weights, quantized under the hand; nothing is run.

    Args:
        subject: a session, or a finished run whose learned grid is shown.
        layer: its name, or that of a weight; the first layer if none.
        bits: of a session's weights.
        granularity: values that share a scale: "tensor" or "channel".
        calibrator: finds the range that is shown first.

    Attributes:
        layer, bits: as above; bits of a run are those that it learned.
        channel: the one that is shown alone, or None.
        clip: the step, as a share of the one found; less than 1 clips more and rounds finer.
    """

    _esm = pictures(("_view", "histogram", "mountHistogram"))
    _css = look(".wb-widget.wb-widget-histogram{height:300px}")
    kinds: ClassVar[Mapping[str, str]] = {
        "layer": "_choose_layer",
        "bits": "_choose_bits",
        "channel": "_choose_channel",
        "clip": "_dragged",
        "reset": "_reset",
    }

    layer = traitlets.Unicode("").tag(sync=True)
    bits = traitlets.Int(4).tag(sync=True)
    channel = traitlets.Int(None, allow_none=True).tag(sync=True)
    clip = traitlets.Float(1.0, min=LEAST, max=MOST).tag(sync=True)

    def __init__(
        self,
        subject: Session | Run,
        layer: str = "",
        bits: int = 4,
        granularity: str = "channel",
        calibrator: str = "mse",
        **traits: Any,
    ) -> None:
        self._run = subject if isinstance(subject, Run) else None
        self._session = subject.session if isinstance(subject, Run) else subject
        self._granularity, self._calibrator = granularity, calibrator
        self._sites = self._open()
        first = layer or next(iter(self.names), "")
        self._frozen = self._fitted(first, bits)
        bits = self._frozen.grid.bits
        self._ready = False
        given = {"_look": "histogram", "layer": first, "bits": bits}
        super().__init__(**{**given, **traits})
        self._ready = True
        self._draw()

    @property
    def names(self) -> list[str]:
        """Layers with weights, in the order of the network."""
        found = (site.layer or name for name, site in self._sites.items())
        return list(dict.fromkeys(found))

    @property
    def exact(self) -> dict[str, float]:
        """`sqnr_db`, `gain_db` against the range found, and the share `clipped`."""
        return grids.exact(self._weight(), self._frozen, self.channel, self.clip)

    def html(self) -> str:
        """The histogram and the ends of its grid."""
        found = self.exact
        words = f"{self.layer}, {self.bits} bits: {found['sqnr_db']:.1f} dB,"
        words += f" {100 * found['clipped']:.1f} % clipped"
        return histogram_html(self._histogram(), words)

    @traitlets.validate("layer")
    def _known(self, proposal: Any) -> str:
        if self._site(proposal["value"]) is None:
            raise traitlets.TraitError(unknown_name("layer", proposal["value"], self.names))
        return proposal["value"]

    @traitlets.validate("bits")
    def _possible_bits(self, proposal: Any) -> int:
        legal = (self._frozen.grid.bits,) if self._run else WIDTHS
        if proposal["value"] not in legal and proposal["value"] != self._frozen.grid.bits:
            raise traitlets.TraitError(f"bits are one of {', '.join(map(str, legal))} here")
        return proposal["value"]

    @traitlets.validate("channel")
    def _possible_channel(self, proposal: Any) -> int | None:
        count = grids.channels(self._frozen)
        if proposal["value"] is not None and not 0 <= proposal["value"] < count:
            raise traitlets.TraitError(f"'{self.layer}' has {count} channels with a scale each")
        return proposal["value"]

    @traitlets.observe("layer", "bits")
    def _asked(self, change: Any) -> None:
        if not self._ready:
            return
        self._frozen = self._fitted(self.layer, self.bits)
        with self.hold_trait_notifications():
            self.bits = self._frozen.grid.bits
            self.clip = 1.0
            if change["name"] == "layer" or grids.channels(self._frozen) == 0:
                self.channel = None
        self._draw()

    @traitlets.observe("channel", "clip")
    def _moved(self, _: object) -> None:
        self._draw()

    def _open(self) -> dict[str, Site]:
        """Weight sites by name."""
        if self._run is None:
            return grids.weight_sites(self._session, self._granularity)
        return {site.name: site for site in self._run.model.of_kind("weight")}

    def _site(self, name: str) -> Site | None:
        found = (s for s in self._sites.values() if name in (s.layer, s.name))
        return next(found, None)

    def _own(self) -> Site:
        site = self._site(self.layer)
        assert site is not None
        return site

    def _fitted(self, layer: str, bits: int) -> Frozen:
        """The grid and its scales.

        Raises:
            TraitError: there is no such layer.
        """
        site = self._site(layer)
        if site is None:
            raise traitlets.TraitError(unknown_name("layer", layer, self.names))
        if self._run is not None:
            return self._run.model.quantizer(site.name).frozen(self._values(site))
        return grids.fitted(self._values(site), site, bits, self._calibrator)

    def _values(self, site: Site) -> Any:
        if self._run is not None:
            return self._run.model.weight(site.name).detach()
        return self._session.graph.parameter(site.tensor).detach()

    def _weight(self) -> Any:
        return self._values(self._own())

    def _draw(self) -> None:
        if self._ready:
            self.draw(self._histogram())

    def _histogram(self) -> dict[str, Any]:
        return grids.view(
            self._own().name,
            self._weight(),
            self._frozen,
            self.channel,
            self.clip,
            pickers=self._pickers(),
        )

    def _pickers(self) -> list[dict[str, Any]]:
        names = self.names
        found = [_picker("layer", "Layer", self._own().layer or names[0], names, names)]
        if self._run is None:
            texts = [strings.bits(width) for width in WIDTHS]
            found.append(_picker("bits", "Bits", self.bits, WIDTHS, texts))
        return found

    def _choose_layer(self, message: Message) -> None:
        self.layer = text(message, "value")

    def _choose_bits(self, message: Message) -> None:
        self.bits = whole(message, "value")

    def _choose_channel(self, message: Message) -> None:
        self.channel = whole_or_none(message, "channel")

    def _dragged(self, message: Message) -> None:
        """An end of the grid was let go."""
        if not self._frozen.grid.symmetric:
            raise MessageError("the zero-point of this grid does not stay")
        share = real(message, "scale") / grids.step(self._frozen, self.channel)
        self.clip = min(MOST, max(LEAST, share))
        self.send({"id": message.get("id"), "value": self.exact})

    def _reset(self, _: Message) -> None:
        self.clip = 1.0


def _picker(kind: str, label: str, value: Any, values: Any, texts: Any) -> dict[str, Any]:
    named = {"kind": kind, "label": label, "value": value}
    return {**named, "values": list(values), "texts": list(texts)}
