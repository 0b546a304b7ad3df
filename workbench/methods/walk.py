"""A walk along the graph with two streams, float and quantized, one node at a time.

At each activation site and each layer the walk stops and hands over what arrives there: the float
input, and the input as the already quantized prefix leaves it. The caller sets the quantizer, the
walk computes the node for all batches with what was just set, and goes on. So a whole network is
calibrated or reconstructed layer after layer in two forward passes. Only live tensors are kept;
what does not fit the budget goes to disk, so memory does not grow with the number of examples.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Layer, Site, layers
from workbench.methods.base import Batch

Stream = Literal["float", "quantized"]
#: share of the free memory that live tensors may take before they go to disk, and its limits
FREE_SHARE, LEAST_BYTES, MOST_BYTES = 0.25, 1 << 29, 4 << 30
#: functions of one tensor that a layer's output may pass through before anything else sees it
ACTIVATIONS = frozenset({"Relu", "Clip", "Gelu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu"})


@dataclass(frozen=True)
class ActivationStop:
    """An activation site; `values` yields one tensor per batch."""

    site: Site
    column: Column

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
        activation: the function that alone reads the output, or None.
    """

    layer: Layer
    node: fx.Node
    activation: fx.Node | None
    _walk: Walk

    def arguments(self) -> Iterator[tuple[list[Any], list[Any]]]:
        """(float, quantized) positional arguments of the node, one pair per batch."""
        yield from self._walk.arguments(self.node)

    def call(self, arguments: Sequence[Any]) -> Any:
        """The layer's own function on these arguments."""
        return self._walk.call(self.node, arguments)

    def apply_activation(self, output: Tensor) -> Tensor:
        """The following activation function of `output` (the same tensor where there is none)."""
        return output if self.activation is None else self._walk.follow(self.activation, output)


class Walk:
    """Iterates over the stops of a quantized graph.

    Args:
        model: its quantizers are used as they are at the moment a node is computed.
        batches: calibration inputs.
        prefix: "quantized" lets earlier layers' errors reach later ones; "float" does not.
        budget_bytes: memory for live tensors before they go to disk; None takes a share of what is
            free.
    """

    def __init__(
        self,
        model: QuantizedGraph,
        batches: Sequence[Batch] | Iterator[Batch],
        *,
        prefix: Stream = "quantized",
        budget_bytes: int | None = None,
    ) -> None:
        self._model = model
        self._batches = batches
        self._quantized = prefix == "quantized"
        self._shelf = Shelf(_budget() if budget_bytes is None else budget_bytes)
        self._columns: dict[fx.Node, Column] = {}
        self._layers = {layer.name: layer for layer in layers(model.graph)}

    def __iter__(self) -> Iterator[ActivationStop | LayerStop]:
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

    def follow(self, node: fx.Node, value: Tensor) -> Tensor:
        """`node` computed with `value` as its first input; the others must be constant."""
        rest = [map_arg(a, lambda n: self._constant(n)[0]) for a in node.args[1:]]
        return self.call(node, [value, *rest])

    def call(self, node: fx.Node, arguments: Sequence[Any]) -> Any:
        """The node's function on these arguments, with its attributes."""
        keywords = map_arg(dict(node.kwargs), lambda n: self._constant(n)[0])
        return node.target(*arguments, **keywords)  # type: ignore[operator]

    def _visit(self) -> Iterator[ActivationStop | LayerStop]:
        nodes = list(self._model.module.graph.nodes)
        last_reader = {n: reader for reader in nodes for n in reader.all_input_nodes}
        self._open([node for node in nodes if node.op == "placeholder"])
        for node in nodes:
            if node.op in ("placeholder", "output") or self._is_constant(node):
                continue
            yield from self._stop(node)
            self._columns[node] = self._compute(node)
            for source in node.all_input_nodes:
                if last_reader[source] is node and source in self._columns:
                    self._columns.pop(source).drop()

    def _open(self, placeholders: list[fx.Node]) -> None:
        columns = [Column(self._shelf) for _ in placeholders]
        for batch in self._batches:
            for column, tensor in zip(columns, batch, strict=True):
                column.append(tensor, tensor)
        self._columns.update(zip(placeholders, columns, strict=True))

    def _stop(self, node: fx.Node) -> Iterator[ActivationStop | LayerStop]:
        if node.op == "call_module":
            source = node.args[0]
            assert isinstance(source, fx.Node)
            yield ActivationStop(self._model.sites[node.meta["site"]], self._columns[source])
        layer = self._layers.get(str(node.meta.get("onnx_node")))
        if layer is not None and node.op == "call_function" and not _is_item(node):
            yield LayerStop(layer, node, _activation(node), self)

    @torch.no_grad()
    def _compute(self, node: fx.Node) -> Column:
        column = Column(self._shelf)
        for floats, quantized in self.arguments(node):
            same = all(a is b for a, b in zip(floats, quantized, strict=True))
            if node.op == "call_module":
                module = self._model.module.get_submodule(str(node.target))
                column.append(floats[0], module(quantized[0]) if self._quantized else floats[0])
                continue
            left = self.call(node, floats)
            column.append(left, left if same else self.call(node, quantized))
        return column

    def _is_constant(self, node: fx.Node) -> bool:
        if node.op == "get_attr":
            return True
        sources = node.all_input_nodes
        return not any(source in self._columns for source in sources)

    @torch.no_grad()
    def _constant(self, node: fx.Node) -> tuple[Any, Any]:
        """(float, quantized) value of a node that does not depend on the inputs."""
        if node.op == "get_attr":
            return self._attribute(str(node.target))
        pairs = {n: self._constant(n) for a in node.args for n in _nodes(a)}
        sides = _filled(node, pairs, 0), _filled(node, pairs, 1)
        if node.op == "call_module":
            module = self._model.module.get_submodule(str(node.target))
            value = sides[0][0]
            return value, module(sides[1][0]) if self._quantized and module.enabled else value
        left = self.call(node, sides[0])
        same = all(a is b for a, b in zip(*sides, strict=True))
        return left, left if same else self.call(node, sides[1])

    def _attribute(self, path: str) -> tuple[Any, Any]:
        original = _fetch(self._model.graph.module, path)
        current = _fetch(self._model.module, path)
        unchanged = not self._quantized or torch.equal(original, current)
        return original, original if unchanged else current


class Column:
    """The value of one node for every batch, as (float, quantized) pairs."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._items: list[tuple[Any, Any]] = []

    def append(self, floats: Any, quantized: Any) -> None:
        """Keep the values of the next batch."""
        left = self._shelf.put(floats)
        right = left if quantized is floats else self._shelf.put(quantized)
        self._items.append((left, right))

    def get(self, batch: int) -> tuple[Any, Any]:
        """The values of one batch; one object where the streams are equal."""
        left, right = self._items[batch]
        floats = self._shelf.get(left)
        return floats, floats if right is left else self._shelf.get(right)

    def drop(self) -> None:
        """Forget all values."""
        for left, right in self._items:
            self._shelf.drop(left)
            if right is not left:
                self._shelf.drop(right)
        self._items = []

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return (self.get(batch) for batch in range(len(self)))


class Shelf:
    """Keeps values in memory up to a budget, the rest in files of a temporary directory."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._held = 0
        self._directory: Path | None = None
        self._count = 0

    def put(self, value: Any) -> Any:
        """A handle for `value`: itself while there is room, otherwise a path."""
        size = _bytes(value)
        if self._held + size <= self._budget:
            self._held += size
            return value
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="workbench-"))
        self._count += 1
        path = self._directory / f"{self._count}.pt"
        torch.save(value, path)
        return path

    def get(self, handle: Any) -> Any:
        """The value behind a handle."""
        return torch.load(handle, weights_only=True) if isinstance(handle, Path) else handle

    def drop(self, handle: Any) -> None:
        """Free what a handle holds."""
        if isinstance(handle, Path):
            handle.unlink(missing_ok=True)
        else:
            self._held -= _bytes(handle)

    def close(self) -> None:
        """Remove the files."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)


def _budget() -> int:
    share = int(psutil.virtual_memory().available * FREE_SHARE)
    return max(LEAST_BYTES, min(MOST_BYTES, share))


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(_bytes(v) for v in value) if isinstance(value, (tuple, list)) else 0


def _filled(node: fx.Node, pairs: Mapping[fx.Node, tuple[Any, Any]], side: int) -> list[Any]:
    """The node's arguments with the values of one stream in place of its sources."""
    return [map_arg(argument, lambda n: pairs[n][side]) for argument in node.args]


def _nodes(argument: Any) -> list[fx.Node]:
    found: list[fx.Node] = []
    map_arg(argument, found.append)
    return found


def _fetch(module: torch.nn.Module, path: str) -> Any:
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name)


def _is_item(node: fx.Node) -> bool:
    return getattr(node.target, "__name__", "") == "getitem"


def _activation(node: fx.Node) -> fx.Node | None:
    users = list(node.users)
    if len(users) != 1 or users[0].meta.get("op_type") not in ACTIVATIONS:
        return None
    return users[0]
