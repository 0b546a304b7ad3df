"""What a number of bits costs at each weight: memory, and bit operations.

size  =  Σ n_l b_l                        n_l weights of b_l bits
BOPs  =  Σ MACs_l · b_l · a_l             a_l bits of what the layer reads; 32 where it is float
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from workbench.graph.build import Graph
from workbench.graph.sites import Layer, Site, layers

FLOAT_BITS = 32


@dataclass(frozen=True)
class Cost:
    """Of one bit in each value of a weight.

    Attributes:
        values: how many there are.
        products: multiply-adds for one example, times the bits of the data.
    """

    values: int
    products: float = 0.0


def costs(graph: Graph, sites: Iterable[Site]) -> dict[str, Cost]:
    """Of every weight site, by name; of one that several layers read, the sum of their products."""
    sites = list(sites)
    data = {edge: site for site in sites if site.kind == "activation" for edge in site.edges}
    found = {s.name: Cost(math.prod(s.shape)) for s in sites if s.kind == "weight"}
    for layer in layers(graph):
        total = sum(math.prod(weight.shape) for weight in layer.weights)
        for weight in layer.weights:
            if weight.name in found:
                cost, share = found[weight.name], math.prod(weight.shape) / total
                more = layer.macs * share * _data_bits(layer, data)
                found[weight.name] = Cost(cost.values, cost.products + more)
    return found


def _data_bits(layer: Layer, data: Mapping[tuple[str, int], Site]) -> int:
    """Bits of the tensor that the layer's weights are multiplied with."""
    found = (data.get((layer.name, index)) for index in (0, 1) if index not in layer.weight_indices)
    return next((site.grid.bits for site in found if site is not None), FLOAT_BITS)
