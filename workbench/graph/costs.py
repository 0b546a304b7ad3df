"""What a number of bits costs at each weight: memory, and bit operations.

size  =  Σ n_l b_l / 8 + 4 s_l            bytes of n_l weights of b_l bits and s_l scales
BOPs  =  Σ MACs_l · b_l · a_l             a_l bits of what the layer reads; 32 where it is float

The size is that of tightly packed codes. The file holds them in containers of 2, 4 or 8 bits, which
`workbench.deploy.pack` knows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from workbench.graph.build import Graph
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Layer, Site, layers, product_macs

FLOAT_BITS = 32
BYTE = 8
SCALE_BYTES = 4


@dataclass(frozen=True)
class Cost:
    """Of one bit in each value of a weight.

    Attributes:
        values: how many there are.
        products: multiply-adds for one example, times the bits of the data.
        macs: multiply-adds for one example.
        scales: how many scales the values have.
    """

    values: int
    products: float = 0.0
    macs: float = 0.0
    scales: int = 0

    def bytes(self, bits: int) -> int:
        """Of the packed codes and their scales."""
        return -(-self.values * bits // BYTE) + SCALE_BYTES * self.scales


@dataclass(frozen=True)
class Product:
    """A weight that meets data.

    Attributes:
        weight: its site.
        data: the site of what it is multiplied with; None where that is float.
        macs: multiply-adds for one example.
    """

    weight: str
    data: Site | None
    macs: float


def products(graph: Graph, sites: Iterable[Site]) -> list[Product]:
    """Of every weight site with every layer that reads it, in the order of the graph."""
    sites = list(sites)
    data = {edge: site for site in sites if site.kind == "activation" for edge in site.edges}
    known = {site.name for site in sites if site.kind == "weight"}
    found = []
    for layer in layers(graph):
        total = sum(math.prod(weight.shape) for weight in layer.weights)
        for weight in layer.weights:
            if weight.name in known:
                macs = layer.macs * math.prod(weight.shape) / total
                found.append(Product(weight.name, _data(layer, data), macs))
    return found


def costs(graph: Graph, sites: Iterable[Site]) -> dict[str, Cost]:
    """Of every weight site, by name; of one that several layers read, the sum of their products."""
    sites = list(sites)
    found = {s.name: _stored(s) for s in sites if s.kind == "weight"}
    for each in products(graph, sites):
        cost, bits = found[each.weight], FLOAT_BITS if each.data is None else each.data.grid.bits
        both = cost.products + each.macs * bits
        found[each.weight] = replace(cost, products=both, macs=cost.macs + each.macs)
    return found


def products_of_data(graph: Graph, sites: Iterable[Site]) -> float:
    """Bit operations of all products of two activations, such as attention's, for one example."""
    data = {edge: site.grid.bits for site in sites for edge in site.edges}
    held = {layer.name for layer in layers(graph)}
    found = 0.0
    for node in graph.model.graph:
        if node.name not in held:
            bits = (data.get((str(node.name), index), FLOAT_BITS) for index in (0, 1))
            found += product_macs(node) * math.prod(bits)
    return found


def open_widths(model: QuantizedGraph, least: int, most: int) -> dict[str, tuple[int, ...]]:
    """The weights whose bits can be chosen, with the choices that the target leaves.

    Weights that were asked for with other bits than most (by the number of values) keep theirs: the
    first and the last layer, and overrides. So do tables of levels, and weights that the target
    runs in one number of bits alone.
    """
    asked = {site.name: model.asked[site.name] for site in model.of_kind("weight")}
    sizes: Counter[int] = Counter()
    for name, grid in asked.items():
        sizes[grid.bits] += math.prod(model.sites[name].shape)
    usual = max(sizes, key=lambda bits: sizes[bits], default=0)
    found = {}
    for name, grid in asked.items():
        known = model.sites[name].widths
        widths = tuple(b for b in range(least, most + 1) if b in known or not known)
        if grid.bits == usual and grid.uniform and not grid.label and len(widths) > 1:
            found[name] = widths
    return found


def _stored(site: Site) -> Cost:
    return Cost(math.prod(site.shape), scales=math.prod(site.grid.granularity.shape(site.shape)))


def _data(layer: Layer, data: Mapping[tuple[str, int], Site]) -> Site | None:
    """The tensor that the layer's weights are multiplied with, where it is quantized."""
    found = (data.get((layer.name, index)) for index in (0, 1) if index not in layer.weight_indices)
    return next((site for site in found if site is not None), None)
