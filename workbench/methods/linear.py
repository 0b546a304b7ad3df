"""Layers seen as plain matrices: rows of inputs, (G, O, K) weights, and scales to match.

Convolutions become matrix products over patches (im2col) at a seeded sub-lattice of output
positions, so that gathering moments costs less than the forward pass even where maps are large.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from workbench.graph.sites import Layer, Weight
from workbench.maths.grid import Grid


@dataclass(frozen=True)
class LinearView:
    """One weight of a layer as a batch of matrices.

    Attributes:
        weight: which weight of the layer; groups: G.
        exact: False where rows for this weight cannot be given (transposed convolutions,
            bidirectional recurrences); such weights fall back to their own error.
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
        if self.layer.op in ("GRU", "LSTM", "RNN"):
            return weight
        moved = weight.movedim(self.weight.channel_axis, 0)
        return moved.reshape(1, self.outputs, -1)

    def tensor(self, matrix: Tensor) -> Tensor:
        """(G, O, K) back in the weight's own shape."""
        shape = self.weight.shape
        if self.layer.op in ("Conv", "GRU", "LSTM", "RNN"):
            return matrix.reshape(shape)
        axis = self.weight.channel_axis
        moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
        return matrix.reshape(moved).movedim(0, axis)

    def blocks(self, grid: Grid) -> int:
        """B, scales along K."""
        return -(-self.inputs // grid.granularity.size) if grid.granularity.kind == "group" else 1

    def scales(self, matrix: Tensor, grid: Grid) -> Tensor:
        """(G, O, B) scales in the shape that the grid's granularity asks for."""
        kind = grid.granularity.kind
        if kind == "tensor":
            return matrix.flatten()[0]
        if kind == "channel":
            return matrix.reshape(-1)
        moved = matrix.reshape(self.outputs, -1)  # (O, B)
        return moved if self.weight.input_axis > self.weight.channel_axis else moved.T

    def rows(self, arguments: Sequence[Any], positions: int, generator: torch.Generator) -> Tensor:
        """(G, N, K) rows that this weight multiplies, from the node's positional arguments."""
        if self.layer.op == "Conv":
            return _patches(arguments[0], self, positions, generator)
        if self.layer.op in ("GRU", "LSTM", "RNN"):
            return self._recurrent_rows(arguments, positions)
        x = arguments[1 - self.weight.index] if self.layer.op == "MatMul" else arguments[0]
        if self.layer.op == "MatMul" and self.weight.index == 0:
            x = x.mT
        return _thinned(x, positions)

    def _recurrent_rows(self, arguments: Sequence[Any], positions: int) -> Tensor:
        x = arguments[0]  # (time, batch, inputs)
        if self.weight.index == 1:
            return _thinned(x.movedim(0, 1), positions)
        states = self.node.target(*arguments, **self.node.kwargs)[0]  # type: ignore[operator]
        hidden = states[:, 0]  # (time, batch, hidden)
        before = torch.cat([torch.zeros_like(hidden[:1]), hidden[:-1]])
        return _thinned(before.movedim(0, 1), positions)


def views(layer: Layer, node: fx.Node) -> list[LinearView]:
    """A view of each weight of a layer."""
    groups = int(node.kwargs.get("group") or 1) if layer.op == "Conv" else 1  # type: ignore[arg-type]
    return [
        LinearView(layer, weight, node, groups, _is_exact(layer, weight, node))
        for weight in layer.weights
    ]


def _is_exact(layer: Layer, weight: Weight, node: fx.Node) -> bool:
    if layer.op in ("GRU", "LSTM", "RNN"):
        return weight.shape[0] == 1 and node.kwargs.get("direction") in (None, "forward")
    if layer.op == "Gemm":
        return not node.kwargs.get("transA")
    if layer.op == "Conv":
        return node.kwargs.get("auto_pad") in (None, "NOTSET", "VALID")
    return layer.op == "MatMul" and len(weight.shape) == 2


def _thinned(x: Tensor, positions: int) -> Tensor:
    """(1, N, K) rows of x (batch, ..., K): every so many, about `positions` for each example."""
    rows = x.reshape(-1, x.shape[-1])
    step = max(1, len(rows) // max(1, positions * x.shape[0]))
    return rows[::step][None]


def _patches(x: Tensor, view: LinearView, positions: int, generator: torch.Generator) -> Tensor:
    """im2col of a convolution at up to `positions` output positions: (G, N, C/G * prod k).

    The positions form a lattice with a random offset, so that each kernel tap is one strided slice.
    """
    kwargs = view.node.kwargs
    kernel = view.weight.shape[2:]
    rank = len(kernel)
    strides = _ints(kwargs.get("strides"), [1] * rank)
    dilations = _ints(kwargs.get("dilations"), [1] * rank)
    pads = _ints(kwargs.get("pads"), [0] * 2 * rank)
    if any(pads):
        x = functional.pad(x, [p for i in reversed(range(rank)) for p in (pads[i], pads[i + rank])])
    per_axis = max(1, int(positions ** (1 / rank)))
    axes = []
    for size, width, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        count = (size - dilation * (width - 1) - 1) // stride + 1
        axes.append(_lattice(count, per_axis, stride, dilation, width, generator))
    taps = [x[(..., *slices)] for slices in itertools.product(*axes)]
    stacked = torch.stack(taps, dim=2)  # (batch, C, prod k, *positions)
    rows = stacked.movedim((1, 2), (-2, -1)).reshape(-1, view.groups, view.inputs)
    return rows.movedim(1, 0)


def _lattice(
    count: int, wanted: int, stride: int, dilation: int, width: int, generator: torch.Generator
) -> list[slice]:
    """One slice of the padded axis for each kernel tap, at every `step`-th output position."""
    step = -(-count // wanted)
    first = int(torch.randint(min(step, count), (1,), generator=generator))
    last = first + (count - 1 - first) // step * step
    return [
        slice(first * stride + tap * dilation, last * stride + tap * dilation + 1, step * stride)
        for tap in range(width)
    ]


def _ints(value: Any, default: list[int]) -> list[int]:
    return [int(v) for v in value] if value else default
