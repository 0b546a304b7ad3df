"""Where a value's channels lie, traced backwards through what only rearranges them.

A layout is the axes of a value that together count its channels, outermost first: (2,) for tokens
of shape (batch, tokens, channels), (1, 3) for heads of shape (batch, heads, tokens, size).
"""

from __future__ import annotations

import math

import onnx_ir as ir
from torch import Tensor

Layout = tuple[int, ...]

_RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


def sizes(value: ir.Value, layout: Layout) -> tuple[int, ...] | None:
    """The lengths of the axes of a layout; None where one is not known."""
    if value.shape is None:
        return None
    found = [value.shape[axis] for axis in layout]
    known = tuple(size for size in found if isinstance(size, int))
    return known if len(known) == len(found) else None


def before(node: ir.Node, layout: Layout) -> Layout | None:
    """The layout of what `node` rearranges, from that of its result; None where it does more."""
    if node.domain:
        return None
    if node.op_type == "Transpose":
        order = list(node.attributes.get_ints("perm") or [])
        return tuple(order[axis] for axis in layout) if order else None
    source, result = node.inputs[0], node.outputs[0]
    if node.op_type not in _RESHAPES or source is None:
        return None
    return _unshaped(source, result, layout)


def shaped(factors: Tensor, value: ir.Value, layout: Layout) -> Tensor:
    """One factor for each channel, so that it broadcasts against a value of that layout."""
    lengths = sizes(value, layout)
    assert lengths is not None
    assert value.shape is not None
    order = sorted(range(len(layout)), key=lambda index: layout[index])
    shape = [1] * (len(value.shape) - min(layout))
    for index in order:
        shape[layout[index] - min(layout)] = lengths[index]
    return factors.reshape(lengths).permute(order).reshape(shape)


def _unshaped(source: ir.Value, result: ir.Value, layout: Layout) -> Layout | None:
    """Axes of `source` that hold the same channels: as many positions, with as many behind them."""
    first, last = layout[0], layout[-1]
    if layout != tuple(range(first, last + 1)) or source.shape is None or result.shape is None:
        return None
    inner = _product(result, range(last + 1, len(result.shape)))
    count = _product(result, layout)
    for end in range(len(source.shape) - 1, -1, -1):
        if inner is None or _product(source, range(end + 1, len(source.shape))) != inner:
            continue
        for start in range(end, -1, -1):
            if _product(source, range(start, end + 1)) == count:
                long = (axis for axis in range(start, end + 1) if source.shape[axis] != 1)
                return tuple(long) or (end,)
    return None


def _product(value: ir.Value, axes: range | Layout) -> int | None:
    found = sizes(value, tuple(axes))
    return None if found is None else math.prod(found)
