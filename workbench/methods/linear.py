"""Layers seen as plain matrices: rows of inputs, (G, O, K) weights, and scales to match.

Convolutions become matrix products over patches (im2col) at a seeded sub-lattice of output
positions, so that gathering moments costs less than the forward pass even where maps are large.
Which rows are taken of an example depends on its place in the stream, not on its batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from workbench.graph.ops.convolution import window_pads
from workbench.graph.sites import RECURRENT, Layer, Weight
from workbench.maths.grid import Grid
from workbench.maths.patches import Places, Window, patches, spread

#: values in the rows of some examples
PART = 2**21
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class LinearView:
    """One weight of a layer as a batch of matrices.

    Attributes:
        weight: which weight of the layer; groups: G.
        exact: False where rows for this weight cannot be given (embeddings, grouped transposed
            convolutions, bidirectional recurrences); such weights fall back to their own error.
    """

    layer: Layer
    weight: Weight
    node: fx.Node
    groups: int
    exact: bool

    @property
    def inputs(self) -> int:
        """K, the length of a row."""
        return math.prod(self.weight.shape) // (self.groups * self.outputs)

    @property
    def outputs(self) -> int:
        """O, rows of the weight in each group."""
        return self.weight.shape[self.weight.channel_axis] // (
            self.groups if self.layer.op == "Conv" else 1
        )

    def matrix(self, weight: Tensor) -> Tensor:
        """A tensor of the weight's shape as (G, O, K)."""
        if self.layer.op == "Conv":
            return weight.reshape(self.groups, self.outputs, -1)
        if self.layer.op in RECURRENT:
            return weight
        moved = weight.movedim(self.weight.channel_axis, 0)
        return moved.reshape(1, self.outputs, -1)

    def tensor(self, matrix: Tensor) -> Tensor:
        """(G, O, K) back in the weight's own shape."""
        shape = self.weight.shape
        if self.layer.op in {"Conv", *RECURRENT}:
            return matrix.reshape(shape)
        axis = self.weight.channel_axis
        moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
        return matrix.reshape(moved).movedim(0, axis)

    def scales(self, matrix: Tensor, grid: Grid) -> Tensor:
        """(G, O, B) scales in the shape that the grid's granularity asks for."""
        kind = grid.granularity.kind
        if kind == "tensor":
            return matrix.flatten()[0]
        if kind == "channel":
            return matrix.reshape(-1)
        moved = matrix.reshape(self.outputs, -1)  # (O, B)
        return moved if self.weight.input_axis > self.weight.channel_axis else moved.T

    def count(self, arguments: Sequence[Any]) -> int:
        """How far `arguments` reach along the axis of the examples."""
        return len(self._read(arguments))

    def rows(self, arguments: Sequence[Any], positions: int, places: Places) -> Tensor:
        """(G, N, K) rows that this weight multiplies, from the node's positional arguments.

        Args:
            arguments: of the node.
            positions: about how many rows to take of each example; all where there are no more.
            places: choose which.
        """
        x = self._read(arguments)
        if self.layer.op == "Conv":
            return patches(x, _window(self, x.shape[2:]), self.groups, positions, places)
        if self.layer.op == "ConvTranspose":
            return patches(*_backwards(self, x), 1, positions, places)
        if self.layer.op in RECURRENT and self.weight.index != 1:
            x = self._states_before(arguments)
        return _thinned(x, positions, places)

    def parts(self, arguments: Sequence[Any], positions: int, places: Places) -> Iterator[Tensor]:
        """What `rows` gives, of a few examples at a time where rows are patches.

        Small pieces stay in the processor's cache, and their memory is used again.
        """
        x = arguments[0]
        count = len(x)
        if self.layer.op in ("Conv", "ConvTranspose"):
            wanted = min(positions, math.prod(x.shape[2:])) * self.groups * self.inputs
            count = max(1, PART // max(1, wanted))
        for part in x.split(count) if count < len(x) else (x,):
            yield self.rows([part, *arguments[1:]], positions, places)
            places = places.after(len(part))

    def _read(self, arguments: Sequence[Any]) -> Tensor:
        """What the weight multiplies, examples first."""
        if self.layer.op in RECURRENT:
            return arguments[0].movedim(0, 1)  # (time, batch, inputs)
        if self.layer.op != "MatMul":
            return arguments[0]
        x = arguments[1 - self.weight.index]
        return x.mT if self.weight.index == 0 else x

    def _states_before(self, arguments: Sequence[Any]) -> Tensor:
        """(batch, time, hidden) the state that each step of a recurrence starts with."""
        found = self.node.target(*arguments, **self.node.kwargs)  # type: ignore[operator]
        states = found if isinstance(found, Tensor) else found[0]  # a node may have one output
        hidden = states[:, 0]  # (time, batch, hidden)
        before = torch.cat([torch.zeros_like(hidden[:1]), hidden[:-1]])
        return before.movedim(0, 1)


def views(layer: Layer, node: fx.Node) -> list[LinearView]:
    """A view of each weight of a layer."""
    groups = int(node.kwargs.get("group") or 1) if layer.op == "Conv" else 1  # type: ignore[arg-type]
    return [
        LinearView(layer, weight, node, groups, _is_exact(layer, weight, node))
        for weight in layer.weights
    ]


def _is_exact(layer: Layer, weight: Weight, node: fx.Node) -> bool:
    if layer.op in RECURRENT:
        return weight.shape[0] == 1 and node.kwargs.get("direction") in (None, "forward")
    if layer.op == "Gemm":
        return not node.kwargs.get("transA")
    if layer.op == "ConvTranspose":
        sized = node.kwargs.get("output_shape") or str(node.kwargs.get("auto_pad") or "")[:4]
        return sized in ("", "NOTS", "VALI") and int(node.kwargs.get("group") or 1) == 1  # type: ignore[arg-type]
    return layer.op == "Conv" or (layer.op == "MatMul" and len(weight.shape) == 2)


def _thinned(x: Tensor, positions: int, places: Places) -> Tensor:
    """(1, N, K) rows of x (batch, ..., K): every so many, about `positions` for each example.

    Where the first lies differs from example to example, by the golden ratio: a step that divides
    the positions would else see the same ones in all of them.
    """
    rows = x.reshape(len(x), -1, x.shape[-1])
    step = max(1, rows.shape[1] // max(1, positions))
    if step == 1:
        return rows.reshape(1, -1, x.shape[-1])
    numbers = torch.arange(places.first, places.first + len(rows), dtype=torch.float64)
    first = ((numbers + places.seed) * GOLDEN % 1 * step).long()
    chosen = (torch.arange(rows.shape[1]) - first[:, None]) % step == 0
    return rows[chosen.to(x.device)][None]


def _window(view: LinearView, spatial: Sequence[int]) -> Window:
    """How the kernel of a convolution moves over an input of these sizes."""
    kwargs = view.node.kwargs
    kernel = tuple(view.weight.shape[2:])
    strides = _ints(kwargs.get("strides"), len(kernel))
    dilations = _ints(kwargs.get("dilations"), len(kernel))
    auto, pads = str(kwargs.get("auto_pad") or "NOTSET"), kwargs.get("pads")
    begins, ends = window_pads(spatial, kernel, strides, dilations, auto, pads)  # type: ignore[arg-type]
    return Window(kernel, strides, dilations, tuple(begins), tuple(ends))


def _backwards(view: LinearView, x: Tensor) -> tuple[Tensor, Window]:
    """A transposed convolution as an ordinary one: its input spread, its kernel read backwards."""
    plain = _window(view, x.shape[2:])
    extra = view.node.kwargs.get("output_padding") or [0] * len(plain.kernel)
    reach = [d * (k - 1) for d, k in zip(plain.dilations, plain.kernel, strict=True)]
    return spread(x, plain.strides), Window(
        plain.kernel,
        (1,) * len(plain.kernel),
        tuple(-d for d in plain.dilations),
        tuple(r - begin for r, begin in zip(reach, plain.begins, strict=True)),
        tuple(r - e + int(o) for r, e, o in zip(reach, plain.ends, extra, strict=True)),  # type: ignore[arg-type]
    )


def _ints(value: Any, rank: int) -> tuple[int, ...]:
    return tuple(int(v) for v in value) if value else (1,) * rank
