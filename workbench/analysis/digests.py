"""What every value of a network follows from, as a digest: equal digests, equal values.

    d(node) = H(node, d of all that it reads)
    d(weight) = H(contents)
    d(quantizer) = H(what it stores, d of its source), or d of its source where it is off

(A Merkle tree.) Names of nodes stand for what they do, as the digest of the float graph is beneath
them all. So what was measured of a network holds for another in which only other places differ.
"""

from __future__ import annotations

from torch import Tensor, fx
from torch.fx.node import map_arg

from workbench.analysis.ledger import digest_graph, digest_tensors, digest_text
from workbench.analysis.partial import Setting, at_work, partners
from workbench.graph.quantized import QuantizedGraph
from workbench.methods.units import fetch


class Digests:
    """Digests of the values of a quantized graph, for inputs that are known otherwise.

    Args:
        model: calibrated or learned; what it holds now counts.
        version: of what computes; another version has other digests.
    """

    def __init__(self, model: QuantizedGraph, version: str = "") -> None:
        self._model = model
        self._partners = partners(model)
        self._nodes = list(model.module.graph.nodes)
        self._root = digest_graph(model.graph, version)
        self._stored = _stored(model)
        self._read: dict[fx.Node, list[fx.Node]] = {}
        for node in self._nodes:
            self._read[node] = []
            map_arg((node.args, node.kwargs), self._read[node].append)
        paths = {str(node.target) for node in self._nodes if node.op == "get_attr"}
        self._held = {(path, way): self._contents(path, way) for path in paths for way in (0, 1)}

    def of(self, setting: Setting) -> dict[fx.Node, str]:
        """Of the value of each node under a setting."""
        learned = {self._model.graph.attribute_of[name] for name in setting.parameters}
        found: dict[fx.Node, str] = {}
        for node in self._nodes:
            if node.op == "get_attr":
                found[node] = self._held[str(node.target), int(node.target in learned)]
                continue
            before = [found[source] for source in self._read[node]]
            if node.op != "call_module":
                found[node] = digest_text(self._root, node.name, *before)
                continue
            site = node.meta["site"]
            on = at_work(site, setting, self._partners)
            found[node] = digest_text(self._stored[site], *before) if on else before[0]
        return found

    def _contents(self, path: str, learned: int) -> str:
        value = fetch((self._model if learned else self._model.graph).module, path)
        return digest_tensors([value]) if isinstance(value, Tensor) else f"{self._root}{path}"


def _stored(model: QuantizedGraph) -> dict[str, str]:
    """Of what each quantizer would export, by site."""
    found = {}
    for name, frozen in model.frozen().items():
        held = (frozen.scale, frozen.zero_point, frozen.codes, frozen.levels, *frozen.held.values())
        found[name] = digest_text(str(model.sites[name].grid), digest_tensors(held))
    return found
