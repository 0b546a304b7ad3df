"""The residual stream of a network: all values that sums tie to one another, and who touches them.

Blocks of a residual network read the stream, mostly through a normalization, and add to it. Found
from the graph alone: beginning at what a normalization reads, a sum joins its operands and its
result, and what only rearranges tokens joins both sides. Layers and tables whose output lies in the
stream write it, layers behind its normalizations read it. A stream can be rotated where nothing
else looks into it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from workbench.graph.passes.channels import layers_of
from workbench.graph.passes.linear import Linear
from workbench.graph.passes.rms import Norm, norms_of, width_of
from workbench.graph.passes.route import follow, reduced_axes
from workbench.graph.tensors import constant_of

#: what treats all positions of the last axis alike, if it keeps that axis
_ROWS = frozenset(
    {"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Expand", "Slice",
     "Gather", "Concat", "Tile", "ReduceMean"}
)  # fmt: skip
_LOOKS_AT_SHAPE = frozenset({"Shape", "Size"})


class Tied(Exception):  # noqa: N818 - it is an answer
    """Why a stream cannot be rotated."""


@dataclass
class Stream:
    """A residual stream with everything that touches it.

    Attributes:
        width: channels, on the last axis of all its values.
        norms: what normalizes it, with the layers that read each.
        direct: layers that read it without a normalization.
        writers: layers whose output lies in it.
        constants: what is added or joined to it, as (node, input index); tables of embeddings too.
    """

    width: int
    norms: list[tuple[Norm, list[Linear]]] = field(default_factory=list)
    direct: list[Linear] = field(default_factory=list)
    writers: list[Linear] = field(default_factory=list)
    constants: list[tuple[ir.Node, int]] = field(default_factory=list)

    @property
    def layers(self) -> list[Linear]:
        """Each layer that reads or writes it, once."""
        readers = [layer for _, found in self.norms for layer in found]
        return list(dict.fromkeys([*readers, *self.direct, *self.writers]))

    @property
    def centres(self) -> bool:
        """One of its normalizations takes the mean away."""
        return any(norm.centres for norm, _ in self.norms)


def streams(graph: ir.Graph) -> tuple[list[Stream], list[str]]:
    """The streams that can be rotated, and for each of the others why it cannot."""
    found, refused = [], []
    search = _Search(graph)
    for seed in [norm.source for norm in search.norms]:
        if seed in search.seen:
            continue
        try:
            found.append(search.grow(seed))
        except Tied as why:
            refused.append(str(why))
    return found, list(dict.fromkeys(refused))


class _Search:
    """Grows streams in one graph; each value belongs to one at most."""

    def __init__(self, graph: ir.Graph) -> None:
        self.norms = norms_of(graph)
        self.seen: set[ir.Value] = set()
        self._inside = {node: norm for norm in self.norms for node in norm.own}
        self._layers = layers_of(graph)
        self._made = {value: layer for layer, value in self._written()}

    def grow(self, seed: ir.Value) -> Stream:
        """The whole stream around one of its values.

        Raises:
            Tied: something else looks into it.
        """
        width = width_of(seed)
        assert width is not None
        stream = Stream(width)
        waiting, reason = [seed], ""
        while waiting:
            value = waiting.pop()
            if value in self.seen:
                continue
            self.seen.add(value)
            try:
                waiting += [*self._behind(stream, value), *self._ahead(stream, value)]
            except Tied as why:  # go on, so that the rest of the stream is not looked at again
                reason = reason or str(why)
        if not reason and stream.centres and stream.direct:
            reason = f"'{stream.direct[0].node.name}' reads the stream without a normalization"
        if reason:
            raise Tied(reason)
        return stream

    def _written(self) -> Iterator[tuple[Linear, ir.Value]]:
        """Layers with a value that has their output channels on its last axis."""
        for layer in self._layers.values():
            axis, value = layer.output_axis, layer.output
            if axis is None or value.shape is None:
                continue
            if axis == len(value.shape) - 1:
                yield layer, value
            elif layer.shape[0] == 1 and (moved := _moved_last(value, axis, layer.outputs)):
                yield layer, moved

    def _behind(self, stream: Stream, value: ir.Value) -> Iterator[ir.Value]:
        """What `value` is made from, where that lies in the stream too."""
        if width_of(value) != stream.width:
            raise Tied(f"'{value.name}' has another width")
        maker = value.producer()
        if maker is None:
            raise Tied(f"the input '{value.name}' lies in the stream")
        if value in self._made:
            stream.writers.append(self._made[value])
        elif maker in self._inside:
            raise Tied(f"'{maker.name}' writes a normalized value into the stream (post-norm)")
        elif _is_table(maker):
            stream.constants.append((maker, 0))
        else:
            operands = _operands(maker, stream.width)
            if not operands:
                raise Tied(f"'{maker.name}' ({maker.op_type}) writes into the stream")
            for index in operands:
                operand = maker.inputs[index]
                assert operand is not None
                if constant_of(operand) is not None:
                    stream.constants.append((maker, index))
                else:
                    yield operand

    def _ahead(self, stream: Stream, value: ir.Value) -> Iterator[ir.Value]:
        """What is made from `value` and lies in the stream too."""
        if value.is_graph_output():
            raise Tied(f"the output '{value.name}' lies in the stream")
        for use in value.uses():
            node, layer = use.node, self._layers.get(use.node)
            norm = self._inside.get(node)
            if norm is not None and norm.source is value:
                if all(norm is not known for known, _ in stream.norms):
                    stream.norms.append((norm, list(self._readers(norm.result))))
            elif layer is not None:
                stream.direct.append(self._reader(layer, value))
            elif node.op_type not in _LOOKS_AT_SHAPE:
                if use.idx not in _operands(node, stream.width):
                    raise Tied(f"'{node.name}' ({node.op_type}) reads the stream")
                yield node.outputs[0]

    def _readers(self, value: ir.Value) -> Iterator[Linear]:
        """The layers that read a normalized value, through what treats rows alike."""
        if value.is_graph_output():
            raise Tied(f"the output '{value.name}' is a normalized value")
        for use in value.uses():
            node, layer = use.node, self._layers.get(use.node)
            if layer is not None:
                yield self._reader(layer, value)
            elif node.op_type not in _LOOKS_AT_SHAPE:
                single = node.op_type in _ROWS - {"Concat"} and use.idx == 0
                if node.op_type == "Add":
                    raise Tied(f"'{node.name}' adds to a normalized value (post-norm)")
                if not single or not _keeps_last_axis(node):
                    raise Tied(f"'{node.name}' ({node.op_type}) reads a normalized value")
                yield from self._readers(node.outputs[0])

    def _reader(self, layer: Linear, value: ir.Value) -> Linear:
        last = None if value.shape is None else len(value.shape) - 1
        if layer.data is not value or layer.input_axis != last:
            raise Tied(f"'{layer.node.name}' reads the stream across its channels")
        return layer


def _operands(node: ir.Node, width: int) -> Sequence[int]:
    """The inputs of `node` that lie in the stream if its result does; none where it does more."""
    kind, inputs = node.op_type, node.inputs
    if node.domain:
        return ()
    if kind in ("Add", "Sub"):
        return (0, 1)
    if kind in ("Mul", "Div"):
        scalar = constant_of(inputs[1])
        return (0,) if scalar is not None and scalar.size == 1 else ()
    if kind == "Concat" and _keeps_last_axis(node):
        return range(len(inputs))
    if kind in _ROWS and width_of(inputs[0]) == width and _keeps_last_axis(node):
        return (0,)
    return ()


def _keeps_last_axis(node: ir.Node) -> bool:
    """Whether what treats rows alike leaves the last axis whole and last."""
    source, result = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None or result.shape is None:
        return False
    rank = len(source.shape)
    if width_of(source) != width_of(result) or width_of(source) is None:
        return False
    if node.op_type == "Transpose":
        order = node.attributes.get_ints("perm")
        return order is not None and list(order)[-1] == rank - 1
    if node.op_type in ("Concat", "Gather"):
        return node.attributes.get_int("axis", 0) % rank != rank - 1
    if node.op_type == "ReduceMean":
        axes = reduced_axes(node)
        return axes is not None and rank - 1 not in axes
    if node.op_type == "Slice":
        axes = constant_of(node.inputs[3]) if len(node.inputs) > 3 else None
        return axes is not None and all(int(a) % rank != rank - 1 for a in axes.numpy().flatten())
    return True


def _is_table(node: ir.Node) -> bool:
    """Rows of a constant picked by what the network is given."""
    table = constant_of(node.inputs[0]) if node.op_type == "Gather" else None
    rows = table is not None and len(table.shape) == 2
    return rows and node.attributes.get_int("axis", 0) in (0, -2)


def _moved_last(value: ir.Value, axis: int, channels: int) -> ir.Value | None:
    """`value` rearranged so that its channels are on the last axis."""
    route = follow(value, axis, channels)
    if route is None or route.repeat != 1 or not route.nodes:
        return None
    last = route.nodes[-1].outputs[0]
    return last if last.shape is not None and route.axis == len(last.shape) - 1 else None
