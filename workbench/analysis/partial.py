"""The network with some of its quantizers at work, recomputing only what they change."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from workbench.graph.quantized import QuantizedGraph
from workbench.quantizers.base import Quantizer
from workbench.quantizers.bias import Bias

Values = dict[fx.Node, Any]


class PartialNetwork:
    """Holds the float values of every node for one batch, and re-runs what chosen sites change.

    A layer's learned float parameters (weights that training moved, corrected biases) come into
    force together with the sites that are switched on.

    Args:
        model: the quantized graph; neither it nor its switches are touched.
        inputs: one batch.
    """

    def __init__(self, model: QuantizedGraph, inputs: tuple[Tensor, ...]) -> None:
        self._model = model
        self._nodes = list(model.module.graph.nodes)
        feed = iter(inputs)
        self.floats: Values = {}
        for node in self._nodes:
            if node.op == "placeholder":
                self.floats[node] = next(feed)
            else:
                self.floats[node] = self._float(node)

    @torch.no_grad()
    def run(self, sites: Collection[str], parameters: Collection[str]) -> Values:
        """Nodes whose value differs from the float one when these sites quantize.

        Args:
            sites: names of the sites that are on.
            parameters: initializers whose learned value replaces the float one.
        """
        changed: Values = {}
        paths = {self._model.graph.attribute_of[name] for name in parameters}
        for node in self._nodes:
            if node.op == "get_attr" and node.target in paths:
                changed[node] = _fetch(self._model.module, str(node.target)).detach()
            elif node.op == "call_module":
                self._visit_quantizer(node, sites, changed)
            elif node.op == "call_function" and any(n in changed for n in node.all_input_nodes):
                changed[node] = self._call(node, self.floats | changed)
        return changed

    def value(self, node: fx.Node, changed: Mapping[fx.Node, Any]) -> Any:
        """A node's value after `run`."""
        return changed.get(node, self.floats[node])

    def output(self, changed: Mapping[fx.Node, Any]) -> Tensor:
        """The first output of the network."""
        first = self._nodes[-1].args[0][0]
        assert isinstance(first, fx.Node)
        return self.value(first, changed)

    def _visit_quantizer(self, node: fx.Node, sites: Collection[str], changed: Values) -> None:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        if self._is_on(node, sites):
            quantizer = self._model.module.get_submodule(str(node.target))
            assert isinstance(quantizer, Quantizer)
            changed[node] = quantizer.fake_quantize(self.value(source, changed))
        elif source in changed:
            changed[node] = changed[source]

    def _is_on(self, node: fx.Node, sites: Collection[str]) -> bool:
        """A bias is rounded only where both factors of its scale are."""
        name = node.meta["site"]
        if name not in sites:
            return False
        if not isinstance(self._model.quantizer(name), Bias):
            return True
        reader = self._model.sites[name].edges[0][0]
        met = [
            s.name for s in self._model.sites.values() for n, i in s.edges if n == reader and i < 2
        ]
        return all(other in sites for other in met)

    @torch.no_grad()
    def _float(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            return _fetch(self._model.graph.module, str(node.target))
        if node.op == "call_module":
            return self.floats[node.args[0]]  # type: ignore[index]
        return self._call(node, self.floats) if node.op == "call_function" else None

    def _call(self, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
        arguments = map_arg(node.args, values.__getitem__)
        keywords = map_arg(dict(node.kwargs), values.__getitem__)
        return node.target(*arguments, **keywords)  # type: ignore[operator]


def _fetch(module: torch.nn.Module, path: str) -> Tensor:
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name)
