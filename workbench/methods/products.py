"""Products as units: layers with weights and products of two activations, with what feeds them."""

from __future__ import annotations

from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import PRODUCTS, Site, layers
from workbench.methods.units import Unit


def products(model: QuantizedGraph) -> list[Unit]:
    """The products that read quantized tensors; those that read the same one are one unit.

    Query, key and value read one activation, so its range has to serve the three. Sums and other
    readers of a tensor are left out.
    """
    held = [layer.name for layer in layers(model.graph)]
    nodes = [str(node.name) for node in model.graph.model.graph]
    own = {*held, *(str(n.name) for n in model.graph.model.graph if n.op_type in PRODUCTS)}
    group: dict[str, set[str]] = {}
    for site in model.sites.values():
        readers = _readers(site) & own
        joined = set.union(readers, *(group.get(name, set()) for name in readers))
        group.update(dict.fromkeys(joined, joined))
    found = []
    for name in nodes:
        members = group.get(name, set())
        if members and name == next(n for n in nodes if n in members):
            found.append(Unit(name, frozenset(members), tuple(n for n in held if n in members)))
    return found


def _readers(site: Site) -> set[str]:
    return {node for node, _ in site.edges}
