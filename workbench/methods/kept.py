"""What stays learned when some sites are asked for otherwise: each method follows one of two rules.

by site   Every site is learned from its own tensor in the float network. All stays but the changed
          sites, and weights beside them whose scale makes room for a bias.
upstream  Layers or units are learned in order, each on what those before it leave. All stays that
          lies before the first change; what follows sees other inputs, and is learned anew.

A method with neither learns everything anew, as those do that train the whole network.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import fx

from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.graph.taps import calls
from workbench.methods.units import Unit, grouped


@dataclass(frozen=True)
class Kept:
    """What stays as it was learned.

    Attributes:
        sites: by name.
        parameters: initializers whose learned value stays; those that learning leaves alone need
            not be named.
    """

    sites: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()


NOTHING = Kept()


def by_site(model: QuantizedGraph, changed: Collection[Site]) -> Kept:
    """What stays where every site is learned for itself.

    Args:
        model: as it is asked for now.
        changed: sites that are other ones now (as they were, too), are new, or are no more.
    """
    names = {_leader(site) for site in changed}
    moved = [site for site in model.sites.values() if _leader(site) in names]
    biases = [s for s in (*changed, *model.of_kind("bias")) if s.kind == "bias"]
    biased = {node for site in biases for node, _ in site.edges}
    met = {node for s in (*changed, *moved) if s.kind != "weight" for node, _ in s.edges} & biased
    kept = (
        name
        for name, site in model.sites.items()
        if _leader(site) not in names
        and not (site.kind == "weight" and met.intersection(node for node, _ in site.edges))
    )
    return Kept(frozenset(kept))


def upstream(model: QuantizedGraph, changed: Collection[Site], parts: Sequence[Unit] = ()) -> Kept:
    """What stays where layers, or units, are learned in the order of a walk.

    Args:
        model: as it is asked for now.
        changed: sites that are other ones now (as they were, too), are new, or are no more.
        parts: units that are learned in one piece; none if each layer is by itself.
    """
    groups = grouped(list(model.module.graph.nodes), parts)
    order = {node: index for index, (_, nodes) in enumerate(groups) for node in nodes}
    places = _places(model, [*model.sites.values(), *changed], order)
    spans: dict[str, list[int]] = {}
    for site in model.sites.values():
        spans.setdefault(_leader(site), []).extend(places[site.name])
    first = min((min(places[site.name]) for site in changed), default=len(order))
    while cut := [min(s) for s in spans.values() if min(s) < first <= max(s)]:
        first = min(cut)  # what is learned in one place and read in another goes together
    kept = {name for name, site in model.sites.items() if max(spans[_leader(site)]) < first}
    return Kept(frozenset(kept), frozenset(_parameters(model, order, first)))


def _leader(site: Site) -> str:
    return site.shares or site.name


def _places(
    model: QuantizedGraph, sites: Collection[Site], order: Mapping[fx.Node, int]
) -> dict[str, list[int]]:
    """Where a walk learns a site: an activation at its quantizer, others at their nodes."""
    own = {n.meta["site"]: n for n in order if n.op == "call_module"}
    readers = calls(model.module)
    found: dict[str, list[int]] = {}
    for site in sites:
        known = [readers[node] for node, _ in site.edges if node in readers]
        if site.kind == "activation" and site.name in own:
            known = [own[site.name]]
        found.setdefault(site.name, []).extend([order[node] for node in known] or [0])
    return found


def _parameters(model: QuantizedGraph, order: Mapping[fx.Node, int], first: int) -> list[str]:
    """Initializers that nothing reads behind the change."""
    held = {path for path, _ in model.module.named_parameters()}
    found = []
    for node in order:
        name = node.meta.get("onnx_initializer")
        if name is not None and model.graph.attribute_of[name] in held:
            users = [u for n in node.users for u in (n.users if n.op == "call_module" else (n,))]
            if users and all(order[user] < first for user in users):
                found.append(name)
    return found
