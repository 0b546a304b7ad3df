"""The network with some of its quantizers at work, recomputing only what they change."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from workbench.graph.quantized import QuantizedGraph
from workbench.methods.units import fetch
from workbench.quantizers.base import Quantizer
from workbench.quantizers.bias import Bias

Values = dict[fx.Node, Any]


@dataclass(frozen=True)
class Setting:
    """Which quantizers are at work.

    Attributes:
        sites: names of the sites that are on.
        parameters: initializers whose learned value replaces the float one.
    """

    sites: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()

    def __or__(self, other: Setting) -> Setting:
        return Setting(self.sites | other.sites, self.parameters | other.parameters)

    def __sub__(self, other: Setting) -> Setting:
        return Setting(self.sites - other.sites, self.parameters - other.parameters)


FLOAT = Setting()


def everything(model: QuantizedGraph) -> Setting:
    """All quantizers, and all that learning moved."""
    held = {path for path, _ in model.module.named_parameters()}
    learned = (name for name, path in model.graph.attribute_of.items() if path in held)
    return Setting(frozenset(model.sites), frozenset(learned))


class PartialNetwork:
    """Holds the value of every node for one batch, and re-runs what another setting changes.

    A layer's learned float parameters (weights that training moved, corrected biases) come into
    force together with the sites that are switched on.

    Args:
        model: the quantized graph; neither it nor its switches are touched.
        inputs: one batch.
        base: the setting whose values are held; by default the float network.

    Attributes:
        base: that setting.
        values: of every node under it.
    """

    def __init__(
        self, model: QuantizedGraph, inputs: tuple[Tensor, ...], base: Setting = FLOAT
    ) -> None:
        self._model = model
        self._nodes = list(model.module.graph.nodes)
        self.base = base
        self._partners = partners(model)
        feed = iter(inputs)
        self.values: Values = {}
        for node in self._nodes:
            taken = next(feed) if node.op == "placeholder" else self._first(node)
            self.values[node] = taken

    @torch.no_grad()
    def run(self, setting: Setting, until: Collection[fx.Node] = ()) -> Values:
        """Nodes whose value differs from the one held when `setting` is in force.

        Args:
            setting: instead of `base`.
            until: nodes behind which nothing is followed; they are computed themselves.
        """
        changed: Values = {}
        followed: Values = {}
        paths, before = self._paths(setting), self._paths(self.base)
        for node in self._nodes:
            if node.op == "get_attr":
                differs = (node.target in paths) != (node.target in before)
                new = [self._fetch(node, paths)] if differs else []
            elif node.op == "call_module":
                new = self._quantized(node, setting, followed)
            else:
                new = self._called(node, followed)
            for value in new:
                changed[node] = value
                if node not in until:
                    followed[node] = value
        return changed

    def differentiable(self, nodes: Collection[fx.Node]) -> tuple[Tensor, list[Tensor]]:
        """The first output, computed again with a gradient towards the values of `nodes`.

        Quantizers round as in `base`, and let the gradient through as if they did not.

        Returns:
            The output, and the values of `nodes` in their order.
        """
        last = output_node(self._model.module)
        wanted, values = set(nodes), dict(self.values)
        moving: set[fx.Node] = set()
        for node in self._nodes:
            if moving.intersection(node.all_input_nodes) and node.op != "output":
                moving.add(node)
                straight = node.op == "call_module"
                values[node] = (
                    self._straight(node, values) if straight else self._call(node, values)
                )
            if node in wanted:
                moving.add(node)
                value = values[node]
                values[node] = (
                    value.view_as(value) if value.requires_grad else value.detach().requires_grad_()
                )
        return values[last], [values[node] for node in nodes]

    def value(self, node: fx.Node, changed: Mapping[fx.Node, Any]) -> Any:
        """A node's value after `run`."""
        return changed.get(node, self.values[node])

    def output(self, changed: Mapping[fx.Node, Any]) -> Tensor:
        """The first output of the network."""
        return self.value(output_node(self._model.module), changed)

    def _straight(self, node: fx.Node, values: Mapping[fx.Node, Any]) -> Tensor:
        """What a quantizer gave, with the gradient of what it was given."""
        source = node.all_input_nodes[0]
        given, held = values[source], self.values[node]
        return given if held is self.values[source] else given + (held - given).detach()

    def _called(self, node: fx.Node, changed: Values) -> list[Any]:
        """The new value of a call, if there is one."""
        moved = node.op == "call_function" and any(n in changed for n in node.all_input_nodes)
        return [self._call(node, self.values | changed)] if moved else []

    def _quantized(self, node: fx.Node, setting: Setting, changed: Values) -> list[Any]:
        """The new value behind a quantizer, if there is one."""
        source = node.all_input_nodes[0]
        now, before = (self._is_on(node, chosen) for chosen in (setting, self.base))
        if now == before and source not in changed:
            return []
        value = self.value(source, changed)
        return [self._quantizer(node).fake_quantize(value) if now else value]

    def _quantizer(self, node: fx.Node) -> Quantizer:
        return self._model.quantizer(node.meta["site"])

    def _is_on(self, node: fx.Node, setting: Setting) -> bool:
        return at_work(node.meta["site"], setting, self._partners)

    @torch.no_grad()
    def _first(self, node: fx.Node) -> Any:
        """A node's value under `base`, those before it being known."""
        if node.op == "get_attr":
            return self._fetch(node, self._paths(self.base))
        if node.op == "call_module":
            value = self.values[node.all_input_nodes[0]]
            on = self._is_on(node, self.base)
            return self._quantizer(node).fake_quantize(value) if on else value
        return self._call(node, self.values) if node.op == "call_function" else None

    def _fetch(self, node: fx.Node, paths: Collection[str]) -> Any:
        """An attribute: learned where its path is among `paths`."""
        learned = node.target in paths
        found = fetch((self._model if learned else self._model.graph).module, str(node.target))
        return found.detach() if isinstance(found, Tensor) else found

    def _paths(self, setting: Setting) -> set[str]:
        return {self._model.graph.attribute_of[name] for name in setting.parameters}

    @staticmethod
    def _call(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
        arguments = map_arg(node.args, values.__getitem__)
        keywords = map_arg(dict(node.kwargs), values.__getitem__)
        return node.target(*arguments, **keywords)  # type: ignore[operator]


def output_node(module: fx.GraphModule) -> fx.Node:
    """The node of a graph's first output."""
    first = list(module.graph.nodes)[-1].args[0][0]
    assert isinstance(first, fx.Node)
    return first


def following(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """Nodes that depend on an input of the graph; `nodes` are all, in order."""
    found: set[fx.Node] = set()
    for node in nodes:
        if node.op == "placeholder" or any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found


def at_work(site: str, setting: Setting, partners: Mapping[str, frozenset[str]]) -> bool:
    """Whether a site is quantized: a bias is rounded only where both factors of its scale are."""
    return site in setting.sites and partners.get(site, frozenset()) <= setting.sites


def partners(model: QuantizedGraph) -> dict[str, frozenset[str]]:
    """For each bias the sites whose scales make its own."""
    at = {edge: site.name for site in model.sites.values() for edge in site.edges}
    found = {}
    for name, site in model.sites.items():
        if isinstance(model.quantizer(name), Bias):
            reader = site.edges[0][0]
            met = (at.get((reader, index)) for index in (0, 1))
            found[name] = frozenset(other for other in met if other is not None)
    return found
