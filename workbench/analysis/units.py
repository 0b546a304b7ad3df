"""What is switched on by itself: each quantized weight, each quantized activation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx

from workbench.analysis.partial import Setting
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Layer, Site, layers
from workbench.graph.taps import value_nodes


@dataclass(frozen=True)
class Unit:
    """One site, with what belongs to it.

    Attributes:
        site: where its quantizer sits.
        layer: that it belongs to; None for an activation that no layer with weights reads.
        setting: the site and the learned float parameters that come with it.
        place: where its error is read: a layer's output for a weight, the tensor itself for an
            activation.
    """

    site: Site
    layer: Layer | None
    setting: Setting
    place: fx.Node

    @property
    def name(self) -> str:
        """Of the site."""
        return self.site.name


def units(model: QuantizedGraph) -> list[Unit]:
    """One for each weight and activation site, in the order of the graph.

    A layer's bias comes with its weight: learned together, it is also put into force together.
    """
    known = {layer.name: layer for layer in layers(model.graph)}
    nodes = value_nodes(model.module)
    quantizers = {n.meta["site"]: n for n in model.module.graph.nodes if n.op == "call_module"}
    found = []
    for site in model.sites.values():
        if site.kind != "bias":
            layer = known.get(site.layer or "")
            place = quantizers[site.name]
            if site.kind == "weight" and layer is not None:
                place = nodes[layer.output]
            found.append(Unit(site, layer, _setting(model, site, layer), place))
    return found


def by_layer(found: list[Unit]) -> Mapping[str, list[Unit]]:
    """The units of each layer: its weights and what it reads, a shared input with each reader."""
    names = dict.fromkeys(unit.layer.name for unit in found if unit.layer is not None)
    return {
        name: [u for u in found if any(node == name for node, _ in u.site.edges)] for name in names
    }


def _setting(model: QuantizedGraph, site: Site, layer: Layer | None) -> Setting:
    if site.kind == "activation":
        return Setting(frozenset({site.name}))
    biases = {s.name for s in model.of_kind("bias") if s.layer == site.layer}
    learned = [site.tensor] + ([layer.offset] if layer is not None and layer.offset else [])
    held = {path for path, _ in model.module.named_parameters()}
    moved = frozenset(name for name in learned if model.graph.attribute_of[name] in held)
    return Setting(frozenset({site.name, *biases}), moved)
