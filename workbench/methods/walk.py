"""A walk along the graph with two streams, float and quantized, one node at a time.

At each activation site and each layer the walk stops and hands over what arrives there: the float
input, and the input as the already quantized prefix leaves it. The caller sets the quantizer, the
walk computes the node for all batches with what was just set, and goes on. So a whole network is
calibrated or reconstructed layer after layer in two forward passes. Only live tensors are kept;
what does not fit the budget goes to disk, so memory does not grow with the number of examples.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from workbench.graph.batching import count_examples
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Layer, Site, layers
from workbench.graph.taps import capture
from workbench.maths.histogram import Histogram
from workbench.methods.base import Batch
from workbench.methods.shelf import Column, Shelf
from workbench.methods.units import Place, Program, Unit, fetch, grouped

Stream = Literal["float", "quantized"]
#: whose live tensors are kept in memory where each is read once or twice
HELD_EXAMPLES = 100


@dataclass(frozen=True)
class ActivationStop:
    """An activation site; `values` yields one tensor per batch.

    Attributes:
        site: where it is.
        together: float values of all tensors that share the site's scale, where they are not all
            in the site's own; None for other sites.
    """

    site: Site
    column: Iterable[tuple[Any, Any]]
    together: Histogram | None = None

    def values(self) -> Iterator[Tensor]:
        """The tensor as it arrives from the prefix, batch by batch."""
        for _, quantized in self.column:
            yield quantized


@dataclass(frozen=True)
class LayerStop:
    """A layer about to be computed.

    Attributes:
        layer: its name, weights and shapes.
        node: the fx call; its `target` is the operator's function, `kwargs` the attributes.
    """

    layer: Layer
    node: fx.Node
    _walk: Walk

    def arguments(self) -> Iterator[tuple[list[Any], list[Any]]]:
        """(float, quantized) positional arguments of the node, one pair per batch."""
        yield from self._walk.arguments(self.node)


class UnitStop:
    """A unit about to be computed; its quantizers may be exchanged here.

    Attributes:
        unit: which nodes it holds.
        outputs: the fx nodes that the rest of the network reads from it.
        count: number of batches.
        moved: gives other float inputs for a batch, where some were chosen; None where not.
    """

    def __init__(self, unit: Unit, nodes: Sequence[fx.Node], walk: Walk) -> None:
        self.unit = unit
        self.count = walk.count
        self.moved: Callable[[int], Mapping[fx.Node, Any]] | None = None
        self._walk = walk
        self._nodes = [node for node in nodes if not walk.is_constant(node)]
        self._floats = Program(self._nodes, walk.model.graph.module, walk.live)
        self._rest: Program | None = None
        self.outputs = _handed_on(self._nodes)
        found = zip(self.outputs, self.reference(0), strict=True)
        self.outputs = tuple(node for node, value in found if _is_float(value))

    def program(
        self, moving: Collection[str] = (), source: Callable[[str], Tensor] | None = None
    ) -> Program:
        """The unit with the quantizers that it has now, as one function.

        Args:
            moving: attributes of the module that learn.
            source: gives the value of an attribute; the module by default.
        """
        return Program(self._nodes, self._walk.model.module, self._walk.live, moving, source)

    def sites(self) -> list[Site]:
        """Activation sites of the unit, in order."""
        model = self._walk.model
        found = (model.sites[n.meta["site"]] for n in self._nodes if n.op == "call_module")
        return [site for site in found if site.kind == "activation"]

    def inputs(self, batch: int) -> tuple[dict[fx.Node, Any], dict[fx.Node, Any]]:
        """(float, quantized) values of the nodes that the unit reads."""
        pairs = {node: self._walk.pair(node, batch) for node in self._floats.inputs}
        floats = {n: p[0] for n, p in pairs.items()}
        floats.update(self.moved(batch) if self.moved is not None else {})
        return floats, {n: p[1] for n, p in pairs.items()}

    def inner(self, floats: Mapping[fx.Node, Any], names: Sequence[str]) -> tuple[Tensor, ...]:
        """Float values inside the unit, by their ONNX names, for these inputs; differentiable."""
        known = {str(node.meta.get("onnx_value")): node for node in self._nodes}
        return self._floats.run(floats, _float, [known[name] for name in names])

    @torch.no_grad()
    def reference(self, batch: int) -> tuple[Tensor, ...]:
        """Float values of `outputs`."""
        return self._floats.run(self.inputs(batch)[0], _float, self.outputs)

    def arriving(self, site: Site, place: Place) -> ActivationStop:
        """Stop at an activation site inside the unit: the values it gets if `place` is applied."""
        node = next(n for n in self._nodes if n.meta.get("site") == site.name)
        return ActivationStop(site, _Arriving(self, node, place), self._walk.together(site))

    def predict(self, batch: int, outputs: Sequence[Tensor]) -> Tensor:
        """The network's first output, if the unit gives `outputs` and all else is float."""
        if self._rest is None:
            self._rest = self._walk.rest(self._nodes[-1], self.outputs)
        own = dict(zip(self.outputs, outputs, strict=True))
        values = {n: self._walk.pair(n, batch)[0] for n in self._rest.inputs if n not in own}
        (found,) = self._rest.run({**values, **own}, _float, [self._walk.first_output()])
        return found


@dataclass(frozen=True)
class _Arriving:
    """What a quantizer inside a unit gets, batch by batch, as (float, quantized) pairs."""

    stop: UnitStop
    node: fx.Node
    place: Place

    @torch.no_grad()
    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        program = self.stop.program()
        for batch in range(self.stop.count):
            values = self.stop.inputs(batch)[1]
            (arrived,) = program.run(values, self.place, self.node.all_input_nodes)
            yield arrived, arrived


class Walk:
    """Iterates over the stops of a quantized graph.

    Args:
        model: its quantizers are used as they are at the moment a node is computed.
        batches: calibration inputs.
        prefix: "quantized" lets earlier layers' errors reach later ones; "float" does not.
        budget_bytes: memory for live tensors before they go to disk; None takes a share of what is
            free. Without units no more is held than the first `HELD_EXAMPLES` examples need.
        units: parts at which to stop as a whole, instead of at the sites and layers inside.
    """

    def __init__(
        self,
        model: QuantizedGraph,
        batches: Sequence[Batch] | Iterator[Batch],
        *,
        prefix: Stream = "quantized",
        budget_bytes: int | None = None,
        units: Sequence[Unit] = (),
    ) -> None:
        self.model = model
        self._units = units
        self._batches = batches
        self._quantized = prefix == "quantized"
        self._shelf = Shelf(budget_bytes, None if units else 0)
        self._columns: dict[fx.Node, Column] = {}
        self._joined = model.joined()
        self._together = {leader: Histogram() for leader in self._joined}
        self._layers = {layer.name: layer for layer in layers(model.graph)}
        self._order: list[fx.Node] = []
        self._dependent = _dependent(model.module)

    def __iter__(self) -> Iterator[ActivationStop | LayerStop | UnitStop]:
        try:
            yield from self._visit()
        finally:
            self._shelf.close()

    def arguments(self, node: fx.Node) -> Iterator[tuple[list[Any], list[Any]]]:
        """(float, quantized) arguments of a node, one pair per batch."""
        fixed = {n: self._constant(n) for n in node.all_input_nodes if n not in self._columns}
        count = len(next(iter(self._columns.values()), ()))
        for batch in range(count):
            pairs = {
                n: fixed[n] if n in fixed else self._columns[n].get(batch)
                for n in node.all_input_nodes
            }
            yield _filled(node, pairs, 0), _filled(node, pairs, 1)

    def call(self, node: fx.Node, arguments: Sequence[Any]) -> Any:
        """The node's function on these arguments, with its attributes."""
        keywords = map_arg(dict(node.kwargs), lambda n: self._constant(n)[0])
        return node.target(*arguments, **keywords)  # type: ignore[operator]

    @property
    def count(self) -> int:
        """Number of batches; known once the walk has begun."""
        return len(next(iter(self._columns.values()), ()))

    @property
    def live(self) -> Collection[fx.Node]:
        """Nodes whose values are at hand now."""
        return self._columns.keys()

    def pair(self, node: fx.Node, batch: int) -> tuple[Any, Any]:
        """(float, quantized) value of a live node."""
        return self._columns[node].get(batch)

    def together(self, site: Site) -> Histogram | None:
        """Float values of all tensors that share the site's scale, as an `ActivationStop` has."""
        return self._together.get(site.name)

    def rest(self, last: fx.Node, given: Sequence[fx.Node]) -> Program:
        """What is still to compute after the node `last`, in float, from live nodes and `given`."""
        after = self._order[self._order.index(last) + 1 :]
        nodes = [node for node in after if not self.is_constant(node) and node.op != "output"]
        return Program(nodes, self.model.graph.module, {*self.live, *given})

    def first_output(self) -> fx.Node:
        """The node that computes the network's first output."""
        found = next(n for n in self.model.module.graph.nodes if n.op == "output").args[0]
        return found[0] if isinstance(found, tuple) else found

    def _visit(self) -> Iterator[ActivationStop | LayerStop | UnitStop]:
        every = list(self.model.module.graph.nodes)
        self._open([node for node in every if node.op == "placeholder"])
        groups = list(grouped(every, self._units))
        self._order = [node for _, nodes in groups for node in nodes]
        last_reader = {n: reader for reader in self._order for n in reader.all_input_nodes}
        for unit, nodes in groups:
            if unit is not None:
                yield UnitStop(unit, nodes, self)
            for node in nodes:
                if node.op in ("placeholder", "output") or self.is_constant(node):
                    continue
                if unit is None:
                    yield from self._stop(node)
                self._columns[node] = self._compute(node)
                for source in node.all_input_nodes:
                    if last_reader[source] is node and source in self._columns:
                        self._columns.pop(source).drop()

    def _open(self, placeholders: list[fx.Node]) -> None:
        columns = [Column(self._shelf) for _ in placeholders]
        seen = 0
        for batch in self._batches:
            self._look_ahead(batch)
            if seen < HELD_EXAMPLES and self._shelf.held_batches is not None:
                self._shelf.held_batches += 1
            seen += count_examples(self.model.graph.inputs, batch)
            for column, tensor in zip(columns, batch, strict=True):
                column.append(tensor, tensor)
        self._columns.update(zip(placeholders, columns, strict=True))

    @torch.no_grad()
    def _look_ahead(self, batch: Batch) -> None:
        """Float values of the groups whose range must be known before their last tensor is."""
        wanted = {name for tensors in self._joined.values() for name in tensors}
        values = capture(self.model.graph.module, batch, wanted)
        for leader, tensors in self._joined.items():
            self._together[leader].add(*(values[name] for name in tensors))

    def _stop(self, node: fx.Node) -> Iterator[ActivationStop | LayerStop]:
        if node.op == "call_module":
            source = node.args[0]
            assert isinstance(source, fx.Node)
            site = self.model.sites[node.meta["site"]]
            yield ActivationStop(site, self._columns[source], self._together.get(site.name))
        layer = self._layers.get(str(node.meta.get("onnx_node")))
        if layer is not None and node.op == "call_function" and not _is_item(node):
            yield LayerStop(layer, node, self)

    @torch.no_grad()
    def _compute(self, node: fx.Node) -> Column:
        column = Column(self._shelf)
        for floats, quantized in self.arguments(node):
            same = all(a is b for a, b in zip(floats, quantized, strict=True))
            if node.op == "call_module":
                module = self.model.module.get_submodule(str(node.target))
                column.append(floats[0], module(quantized[0]) if self._quantized else floats[0])
                continue
            left = self.call(node, floats)
            column.append(left, left if same else self.call(node, quantized))
        return column

    def is_constant(self, node: fx.Node) -> bool:
        """True for what does not depend on the inputs."""
        return node not in self._dependent

    @torch.no_grad()
    def _constant(self, node: fx.Node) -> tuple[Any, Any]:
        """(float, quantized) value of a node that does not depend on the inputs."""
        if node.op == "get_attr":
            return self._attribute(str(node.target))
        pairs = {n: self._constant(n) for a in node.args for n in _nodes(a)}
        sides = _filled(node, pairs, 0), _filled(node, pairs, 1)
        if node.op == "call_module":
            module = self.model.module.get_submodule(str(node.target))
            value = sides[0][0]
            return value, module(sides[1][0]) if self._quantized and module.enabled else value
        left = self.call(node, sides[0])
        same = all(a is b for a, b in zip(*sides, strict=True))
        return left, left if same else self.call(node, sides[1])

    def _attribute(self, path: str) -> tuple[Any, Any]:
        original = fetch(self.model.graph.module, path)
        current = fetch(self.model.module, path)
        unchanged = not self._quantized or torch.equal(original, current)
        return original, original if unchanged else current


def _filled(node: fx.Node, pairs: Mapping[fx.Node, tuple[Any, Any]], side: int) -> list[Any]:
    """The node's arguments with the values of one stream in place of its sources."""
    return [map_arg(argument, lambda n: pairs[n][side]) for argument in node.args]


def _nodes(argument: Any) -> list[fx.Node]:
    found: list[fx.Node] = []
    map_arg(argument, found.append)
    return found


def _dependent(module: fx.GraphModule) -> set[fx.Node]:
    """The nodes that depend on an input."""
    found: set[fx.Node] = set()
    for node in module.graph.nodes:
        if node.op == "placeholder" or any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found


def _handed_on(nodes: Sequence[fx.Node]) -> tuple[fx.Node, ...]:
    """What others read of `nodes`, through quantizers or not."""
    inside = set(nodes)

    def leaves(node: fx.Node) -> bool:
        return any(u not in inside or (u.op == "call_module" and leaves(u)) for u in node.users)

    return tuple(node for node in nodes if node.op != "call_module" and leaves(node))


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 0


def _float(node: fx.Node, x: Tensor) -> Tensor:  # noqa: ARG001
    """A quantizer that is not there."""
    return x


def _is_item(node: fx.Node) -> bool:
    return getattr(node.target, "__name__", "") == "getitem"
