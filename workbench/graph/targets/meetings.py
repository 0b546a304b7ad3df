"""What meets at a node: the sites it reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from workbench.graph.sites import Site
from workbench.graph.targets.rules import Meeting, follow_limiters


class Meetings:
    """Lookups from nodes to sites.

    Args:
        sites: of the whole graph.
        fused: Relu and Clip nodes -> the node that they belong to.
        store: how weight codes are held in the file, "packed" or "int8".
    """

    def __init__(self, sites: Iterable[Site], fused: Mapping[str, str], store: str) -> None:
        sites = list(sites)
        self._by_edge = {edge: site for site in sites for edge in site.edges}
        self._by_tensor = {site.tensor: site for site in sites}
        self._fused = fused
        self._store = store

    def __contains__(self, tensor: str) -> bool:
        return tensor in self._by_tensor

    def at(self, node: ir.Node) -> Meeting:
        """The sites that meet at `node`."""
        name = str(node.name)
        read = [self._by_edge.get((name, index)) for index in range(len(node.inputs))]
        ends = [follow_limiters(value) for value in node.outputs if value.name]
        hit = [(self._by_tensor[str(v.name)], by) for v, by in ends if v.name in self._by_tensor]
        own = [(s, by) for s, by in hit if all(self._fused.get(str(n.name)) == name for n in by)]
        return Meeting(
            node=node,
            inputs=_of_kind(read, "activation"),
            weights=_of_kind(read, "weight"),
            outputs=tuple(site for site, _ in own),
            limited=any(by for _, by in own),
            store=self._store,
        )


def _of_kind(sites: Sequence[Site | None], kind: str) -> tuple[Site, ...]:
    return tuple(site for site in sites if site is not None and site.kind == kind)
