"""Equivalent scaling: a factor for each channel, taken out before a layer and put into it.

    Y = X W  =  (X diag(s)⁻¹) (diag(s) W)

The layers that read a tensor X (query, key and value together) have their weights multiplied by s
along the inputs, and what makes X is divided by s: the gain and offset of a normalization, the
weight and bias of the layer before, or a constant that is multiplied in. Between the two may lie
whatever commutes with a factor on each channel: rearrangements, positively homogeneous functions,
the other factor of a gate, and attention, whose weighted sums keep the channels of the values
apart. Where nothing before takes the factor (the sum of a residual network reads X too), a
multiplication can be put in front of the readers instead.

The float function stays the same. How s is chosen is the business of SmoothQuant
(arXiv:2211.10438), AWQ (arXiv:2306.00978) and OmniQuant (arXiv:2308.13137).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor

from workbench.foundation.errors import ModelError
from workbench.graph.ops.dtypes import torch_dtype
from workbench.graph.passes.base import FoldRecord, lonely, record, set_constant, wide
from workbench.graph.passes.channels import homogeneous, layers_of, reasons
from workbench.graph.passes.layout import Layout, before, shaped, sizes
from workbench.graph.passes.linear import Linear
from workbench.graph.passes.registry import Measured
from workbench.graph.passes.route import reduced_axes
from workbench.graph.tensors import add_initializer, constant_of, unique, value_names

#: normalizations -> the inputs that hold a gain and an offset for each channel
_NORMS = {
    "LayerNormalization": (1, 2),
    "RMSNormalization": (1,),
    "SimplifiedLayerNormalization": (1,),
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
}
_SECOND_AXIS = frozenset({"BatchNormalization", "InstanceNormalization"})
_LINEAR = frozenset({"Mul", "Div"})
_AFFINE = frozenset({"Add", "Sub"})

Spread = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Part:
    """A constant that takes a factor.

    Attributes:
        node, index: where it is read.
        spread: the factors, `(channels,)`, in a shape that broadcasts against the constant.
        inverse: it is divided by them instead of multiplied.
    """

    node: ir.Node
    index: int
    spread: Spread
    inverse: bool

    @property
    def name(self) -> str:
        """Of the initializer."""
        return str(self.node.inputs[self.index].name)  # type: ignore[union-attr]

    @property
    def shared(self) -> bool:
        """Other nodes read the constant too."""
        return len(self.node.inputs[self.index].uses()) > 1  # type: ignore[union-attr]

    def scaled(self, constant: Tensor, factors: Tensor) -> Tensor:
        """The constant after scaling."""
        spread = self.spread(factors)
        return constant / spread if self.inverse else constant * spread


@dataclass(frozen=True)
class Group:
    """Layers that read one tensor, and what before it takes the inverse of their factor.

    Attributes:
        source: the tensor; axis: of its channels; channels: how many.
        readers: the layers.
        parts: the constants that change, those of the readers first.
        before: of the nodes whose constants are divided, by name; empty where none can be.
        passed: values from there to the source that end up divided.
    """

    source: ir.Value
    axis: int
    channels: int
    readers: tuple[Linear, ...]
    parts: tuple[Part, ...]
    before: tuple[str, ...]
    passed: tuple[tuple[ir.Value, Layout], ...]

    @property
    def name(self) -> str:
        """Of the tensor."""
        return str(self.source.name)

    @property
    def folds(self) -> bool:
        """The inverse can be folded into what is there."""
        return bool(self.before)

    def input_ranges(self) -> Tensor:
        """max |W| of each channel over all readers."""
        return torch.stack([layer.input_ranges() for layer in self.readers]).amax(0)


def groups(graph: ir.Graph, refused: Counter[str] | None = None) -> list[Group]:
    """The groups of a graph in its order; why others are none is counted in `refused`."""
    refused = Counter() if refused is None else refused
    layers = layers_of(graph)
    search = _Search(layers, refused)
    sources = dict.fromkeys(layer.data for layer in layers.values())
    found = (search.group(source) for source in sources if source is not None)
    return [group for group in found if group is not None]


def scale(model: ir.Model, factors: Measured, name: str) -> FoldRecord:
    """Apply factors to the groups whose source they are named after.

    Args:
        model: changed in place.
        factors: s of each channel, positive; groups without any are left alone.
        name: of the record.

    Raises:
        ModelError: there are factors for a tensor that heads no such group.
    """
    refused: Counter[str] = Counter()
    found = {group.name: group for group in groups(model.graph, refused)}
    done, inserted = [], 0
    for source, given in factors.items():
        group = found.get(source)
        if group is None or given.shape != (group.channels,):
            raise ModelError(
                f"no layers can be scaled behind '{source}'; measure on this very model again"
            )
        _apply(model.graph, group, given.double())
        inserted += not group.folds
        done.append(source)
    refused["nothing before takes the factor"] += len(found) - len(done)
    words = f"{inserted} multiplications put in" if inserted else ""
    return record(name, done, "; ".join(filter(None, (words, reasons(refused)))))


def _apply(graph: ir.Graph, group: Group, factors: Tensor) -> None:
    if not group.folds:
        _insert(graph, group, factors)
    for part in group.parts:
        value = part.node.inputs[part.index]
        dtype = torch_dtype(int(constant_of(value).dtype))  # type: ignore[union-attr]
        scaled = part.scaled(wide(value), factors).to(dtype)
        set_constant(graph, part.node, part.index, scaled, part.name)
    for value, layout in group.passed:
        known = value.meta.get("batch_norm")
        if known is not None and len(layout) == 1:
            value.meta["batch_norm"] = tuple((part / factors).to(part.dtype) for part in known)


def _insert(graph: ir.Graph, group: Group, factors: Tensor) -> None:
    """A multiplication by 1 / s in front of the readers alone."""
    source = group.source
    taken = value_names(graph) | {str(node.name) for node in graph}
    name = unique(f"{group.name}.scaled", taken)
    dtype = torch.float32 if source.dtype is None else torch_dtype(int(source.dtype))
    inverse = shaped(1 / factors, source, (group.axis,)).to(dtype)
    constant = add_initializer(graph, unique(f"{name}.factor", taken), inverse)
    node = ir.Node("", "Mul", [source, constant], num_outputs=1, name=name)
    made = node.outputs[0]
    made.name, made.shape, made.type = name, source.shape, source.type
    readers = {layer.node for layer in group.readers}
    graph.insert_before(next(found for found in graph if found in readers), node)
    for layer in group.readers:
        layer.node.replace_input_with(list(layer.node.inputs).index(source), made)


class _Search:
    """Finds groups; `refused` counts why layers are in none."""

    def __init__(self, layers: dict[ir.Node, Linear], refused: Counter[str]) -> None:
        self._layers = layers
        self._made_by = {layer.output: layer for layer in layers.values()}
        self._refused = refused

    def group(self, source: ir.Value) -> Group | None:
        """The layers that read `source`, if all agree on what its channels are."""
        uses = list(source.uses())
        found = (self._reader(use.node, use.idx) for use in uses)
        readers = [layer for layer in found if layer is not None]
        axes = {layer.input_axis for layer in readers}
        axis = axes.pop() if len(axes) == 1 else None
        counts = {layer.shape[0] * layer.shape[2] for layer in readers}
        if axis is None or len(counts) != 1 or sizes(source, (axis,)) != tuple(counts):
            self._refused["channels not known"] += 1
            return None
        if not all(layer.owns_weight for layer in readers):
            self._refused["weight shared"] += 1
            return None
        parts = [Part(x.node, x.weight_index, x.for_inputs, False) for x in readers]
        trace = _Trace(self._made_by)
        alone = len(readers) == len(uses) and not source.is_graph_output()
        if not (alone and trace.up(source, (axis,))):
            trace = _Trace(self._made_by)
        return Group(
            source,
            axis,
            counts.pop(),
            tuple(readers),
            (*parts, *trace.parts),
            tuple(dict.fromkeys(str(part.node.name) for part in trace.parts)),
            tuple(trace.passed),
        )

    def _reader(self, node: ir.Node, index: int) -> Linear | None:
        """The layer that reads its data there."""
        layer = self._layers.get(node)
        return layer if layer is not None and index != layer.weight_index else None


class _Trace:
    """The way up from a tensor to the constants that can be divided by its factor.

    Attributes:
        parts: those constants; passed: values that end up divided, the tensor itself included.
    """

    def __init__(self, made_by: dict[ir.Value, Linear]) -> None:
        self._made_by = made_by
        self.parts: list[Part] = []
        self.passed: list[tuple[ir.Value, Layout]] = []

    def up(self, value: ir.Value, layout: Layout) -> bool:
        """Whether the factor finds a place in what makes `value`; then `parts` has it."""
        if value.is_graph_output() or sizes(value, layout) is None:
            return False
        kept = len(self.parts), len(self.passed)
        self.passed.append((value, layout))
        layer, node = self._made_by.get(value), value.producer()
        if layer is not None:
            found = self._into_layer(layer, layout)
        elif node is None or len(value.shape or ()) == 0:
            found = False
        elif node.op_type in _NORMS:
            found = self._into_norm(node, value, layout)
        else:
            found = self._through(node, value, layout)
        if not found:
            del self.parts[kept[0] :], self.passed[kept[1] :]
        return found

    def _into_layer(self, layer: Linear, layout: Layout) -> bool:
        if layout != (layer.output_axis,) or not layer.owns_weight:
            return False
        self.parts.append(Part(layer.node, layer.weight_index, layer.for_outputs, True))
        if layer.bias_place is not None:
            self.parts.append(Part(*layer.bias_place, layer.for_bias, True))
        return True

    def _into_norm(self, node: ir.Node, value: ir.Value, layout: Layout) -> bool:
        assert value.shape is not None
        channels, last = sizes(value, layout), len(value.shape) - 1
        wanted = 1 if node.op_type in _SECOND_AXIS else last
        places = [i for i in _NORMS[node.op_type] if _given(node, i)]
        constants = [constant_of(node.inputs[index]) for index in places]
        fits = all(c is not None and tuple(c.shape) == channels for c in constants)
        if layout != (wanted,) or value is not node.outputs[0] or not fits or not places:
            return False
        self.parts.extend(Part(node, index, _same, True) for index in places)
        return True

    def _through(self, node: ir.Node, value: ir.Value, layout: Layout) -> bool:
        if node.domain not in ("", "ai.onnx") or value is not node.outputs[0]:
            return False
        rearranged = before(node, layout)
        if rearranged is not None:
            return self._next(node, 0, rearranged)
        axis = _unreduced(node, layout[0]) if len(layout) == 1 else None
        if axis is not None and homogeneous(node, axis):
            return self._next(node, 0, (axis,))
        if node.op_type in _AFFINE or node.op_type in _LINEAR:
            return self._elementwise(node, value, layout)
        if node.op_type == "MatMul":
            return self._through_attention(node, value, layout)
        return False

    def _elementwise(self, node: ir.Node, value: ir.Value, layout: Layout) -> bool:
        constants = [index for index in (0, 1) if constant_of(node.inputs[index]) is not None]
        if not constants:
            order = (0, 1) if node.op_type == "Mul" else (0,) if node.op_type == "Div" else ()
            return any(self._branch(node, index, value, layout) for index in order)
        part = Part(node, constants[0], lambda s: shaped(s, value, layout), True)
        if node.op_type == "Mul" and _per_channel(node.inputs[constants[0]], value, layout):
            self.parts.append(part)
            return True
        if node.op_type == "Div" and constants[0] == 0:
            return False
        if node.op_type in _AFFINE:
            self.parts.append(part)
        return self._branch(node, 1 - constants[0], value, layout)

    def _through_attention(self, node: ir.Node, value: ir.Value, layout: Layout) -> bool:
        """Weighted sums over the rows of the second factor keep its columns apart, head by head."""
        weights, summed = node.inputs
        assert value.shape is not None
        last = len(value.shape) - 1
        if layout[-1] != last or last - 1 in layout or weights is None:
            return False
        return self._branch(node, 1, value, layout) if _same_rank(summed, value) else False

    def _branch(self, node: ir.Node, index: int, value: ir.Value, layout: Layout) -> bool:
        """An input whose channels are those of the result, not repeated by broadcasting."""
        source = node.inputs[index]
        if source is None or not _same_rank(source, value):
            return False
        return sizes(source, layout) == sizes(value, layout) and self._next(node, index, layout)

    def _next(self, node: ir.Node, index: int, layout: Layout) -> bool:
        source = node.inputs[index]
        return source is not None and lonely(source) and self.up(source, layout)


def _unreduced(node: ir.Node, axis: int) -> int | None:
    """The axis of a node's input that is `axis` of its result; only reductions take axes away."""
    if not node.op_type.startswith("Reduce") or node.attributes.get_int("keepdims", 1):
        return axis if node.inputs and _same_rank(node.inputs[0], node.outputs[0]) else None
    taken = set(reduced_axes(node) or ())
    rank = len(node.outputs[0].shape or ()) + len(taken)
    return [kept for kept in range(rank) if kept not in taken][axis] if taken else None


def _given(node: ir.Node, index: int) -> bool:
    return index < len(node.inputs) and node.inputs[index] is not None


def _same(factors: Tensor) -> Tensor:
    return factors


def _same_rank(source: ir.Value | None, value: ir.Value) -> bool:
    if source is None or source.shape is None or value.shape is None:
        return False
    return len(source.shape) == len(value.shape)


def _per_channel(constant: ir.Value | None, value: ir.Value, layout: Layout) -> bool:
    """A constant with one number for each channel; one that is the same everywhere is passed."""
    assert constant is not None
    assert value.shape is not None
    lengths = sizes(value, layout)
    rank = 0 if constant.shape is None else len(constant.shape)
    places = [axis - (len(value.shape) - rank) for axis in layout]
    return bool(rank) and min(places) >= 0 and sizes(constant, tuple(places)) == lengths
