"""Which inner tensors of a network are compared with which of its teacher.

Candidates are the ends of the blocks, without the network's outputs. Where both networks end their
blocks in tensors of the same names (the teacher is the float graph itself, or the same network of
another width), those are pairs. Otherwise the ends are taken in order, stage by stage: those that
have the same positions, spread evenly over the deeper network's, the last with the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from workbench.foundation.errors import ModelError
from workbench.graph.blocks import blocks
from workbench.graph.build import Graph
from workbench.graph.taps import channel_axis, value_nodes

MOST = 8
UNKNOWN = -1  # a size that is not known before run time
_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


@dataclass(frozen=True)
class Pair:
    """Two inner tensors that are to say the same.

    Attributes:
        student, teacher: ONNX names of the values.
        channel_axis: of both; their other sizes agree.
        same_shape: they have as many channels too, so their values can be compared one by one.
    """

    student: str
    teacher: str
    channel_axis: int
    same_shape: bool


@dataclass(frozen=True)
class _End:
    """The last tensor of a block; `positions` are its sizes without examples and channels."""

    name: str
    axis: int
    channels: int
    positions: tuple[int, ...]

    @property
    def stage(self) -> tuple[int, tuple[int, ...]]:
        """Ends of two networks can be compared where this is the same."""
        return self.axis, self.positions


def pairs(student: Graph, teacher: Graph, most: int = MOST) -> tuple[Pair, ...]:
    """Inner tensors to compare, from the first to the last, at most `most`.

    Raises:
        ModelError: no tensor of the one network corresponds to one of the other.
    """
    own, other = _ends(student), _ends(teacher)
    found = _by_name(own, other) or _in_order(own, other)
    if not found:
        raise ModelError(
            f"none of the student's '{len(own)}' inner tensors has a counterpart among the"
            f" teacher's '{len(other)}'; choose a teacher with the same input size and a similar"
            " structure, or learn from its logits alone"
        )
    return tuple(_pair(found[index]) for index in _spread(len(found), most))


def _ends(graph: Graph) -> list[_End]:
    """The ends of the outermost blocks that are floats of known rank, in order."""
    values = {str(value.name): value for node in graph.model.graph for value in node.outputs}
    nodes = value_nodes(graph.module)
    names = dict.fromkeys(block.output for block in blocks(graph) if block.level == 0)
    given = {spec.name for spec in graph.outputs}
    found = []
    for name in names:
        value = values[name]
        if name in given or value.shape is None or value.dtype not in _FLOATS:
            continue
        sizes = [size if isinstance(size, int) else UNKNOWN for size in value.shape]
        if len(sizes) > 1:
            axis = channel_axis(nodes[name], len(sizes))
            positions = tuple(s for place, s in enumerate(sizes) if place not in (0, axis))
            found.append(_End(name, axis, sizes[axis], positions))
    return found


def _by_name(own: Sequence[_End], other: Sequence[_End]) -> list[tuple[_End, _End]]:
    """Ends of the same name, if both networks have the same ends."""
    named = {end.name: end for end in other}
    if [end.name for end in own] != list(named):
        return []
    return [(end, named[end.name]) for end in own if named[end.name].stage == end.stage]


def _in_order(own: Sequence[_End], other: Sequence[_End]) -> list[tuple[_End, _End]]:
    """Ends with the same positions, evenly spread where one network has more."""
    found = []
    for stage in dict.fromkeys(end.stage for end in own):
        left = [end for end in own if end.stage == stage]
        right = [end for end in other if end.stage == stage]
        count = min(len(left), len(right))
        chosen = zip(_spread(len(left), count), _spread(len(right), count), strict=True)
        found.extend((left[i], right[j]) for i, j in chosen)
    order = {end: index for index, end in enumerate(own)}
    return sorted(found, key=lambda pair: order[pair[0]])


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of `count` places, evenly spread and with the last one.

    Example:
        >>> _spread(9, 3), _spread(2, 8)
        ([2, 5, 8], [0, 1])
    """
    most = min(count, most)
    return [(index + 1) * count // most - 1 for index in range(most)]


def _pair(found: tuple[_End, _End]) -> Pair:
    own, other = found
    return Pair(own.name, other.name, own.axis, own.channels == other.channels != UNKNOWN)
