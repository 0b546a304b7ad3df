"""Where a tensor's channels go: the one way from a layer to what reads it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from torch import Tensor

from workbench.graph.passes.base import only_reader
from workbench.graph.tensors import constant_of

_RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
Through = Callable[[ir.Node, int], bool]


@dataclass(frozen=True)
class Route:
    """The way from a value to the first node that is not passed through.

    Attributes:
        nodes: what lies between, in order, each the only reader of the one before.
        axes: where the channels are in what each of `nodes` reads.
        reader: the node at the end; index: the input at which it reads.
        axis: where the channels are in the value that it reads.
        repeat: positions there that belong to one channel, next to each other (a flattened map).
    """

    nodes: tuple[ir.Node, ...]
    axes: tuple[int, ...]
    reader: ir.Node
    index: int
    axis: int
    repeat: int

    def spread(self, values: Tensor) -> Tensor:
        """One value for each channel as one for each position along the reader's axis."""
        return values.repeat_interleave(self.repeat)

    def gather(self, values: Tensor) -> Tensor:
        """The largest of each channel's values along the reader's axis."""
        return values.reshape(-1, self.repeat).amax(1)


def follow(value: ir.Value, axis: int, size: int, through: Through | None = None) -> Route | None:
    """Follow `size` channels on `axis` of `value` through rearrangements.

    Args:
        value: where to begin; axis, size: its channels.
        through: says which other nodes, given the channel axis at their input, keep channels apart
            and may be passed; none by default.

    Passed nodes see one position for each channel, so a merging reshape ends the way for `through`.

    Returns:
        None where a value on the way is read more than once or not at all, is an output of the
        graph, or loses track of its channels.
    """
    nodes: list[ir.Node] = []
    axes: list[int] = []
    positions = size
    while (found := only_reader(value)) is not None:
        reader, index = found
        place = _moved(reader, axis, positions) if index == 0 else None
        passable = place is None and index == 0 and positions == size
        if through is not None and passable and through(reader, axis):
            place = (_kept_axis(reader, axis), positions)
        if place is None:
            return Route(tuple(nodes), tuple(axes), reader, index, axis, positions // size)
        nodes.append(reader)
        axes.append(axis)
        axis, positions = place
        value = reader.outputs[0]
    return None


def _moved(node: ir.Node, axis: int, size: int) -> tuple[int, int] | None:
    """(axis, positions) behind a Transpose or a reshape; None where it is no such node."""
    if node.domain or not node.outputs:
        return None
    if node.op_type == "Transpose":
        order = list(node.attributes.get_ints("perm") or [])
        return (order.index(axis), size) if order else None
    source, result = node.inputs[0], node.outputs[0]
    if node.op_type not in _RESHAPES or source is None:
        return None
    if source.shape is None or result.shape is None:
        return None
    return _reshaped(list(source.shape), list(result.shape), axis, size)


def _reshaped(
    before: Sequence[object], after: Sequence[object], axis: int, size: int
) -> tuple[int, int] | None:
    """Axis `axis` after a reshape that keeps it whole, or merges it with the axes behind it."""
    inner = _product(before[axis + 1 :])
    if inner is None:
        return None
    for place, length in enumerate(after):
        rest = _product(after[place + 1 :])
        if not isinstance(length, int) or rest is None or inner % rest:
            continue
        if length == size * (inner // rest):
            return place, length
    return None


def _product(sizes: Sequence[object]) -> int | None:
    """The product of sizes that are all known and positive."""
    known = [size for size in sizes if isinstance(size, int) and size > 0]
    return math.prod(known) if len(known) == len(sizes) else None


def _kept_axis(node: ir.Node, axis: int) -> int:
    """The channel axis behind a node that was passed; a reduction may have removed axes before."""
    if not node.op_type.startswith("Reduce") or node.attributes.get_int("keepdims", 1):
        return axis
    return axis - sum(reduced < axis for reduced in reduced_axes(node) or ())


def reduced_axes(node: ir.Node) -> list[int] | None:
    """The axes that a reduction takes, counted from the front; None where they are not known."""
    source = node.inputs[0]
    rank = None if source is None or source.shape is None else len(source.shape)
    given = node.attributes.get_ints("axes")
    axes = None if given is None else list(given)
    if axes is None and len(node.inputs) > 1:
        constant = constant_of(node.inputs[1])
        axes = None if constant is None else [int(axis) for axis in constant.numpy().reshape(-1)]
    if rank is None or not axes:
        return None
    return [axis % rank for axis in axes]
