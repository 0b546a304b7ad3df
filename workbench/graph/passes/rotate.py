"""Rotation of the residual stream (QuaRot, Ashkboos et al. 2024, arXiv:2404.00456).

A few channels of a transformer's activations are far larger than the others, and one scale for all
of them wastes its levels. In another basis, x Q with Q Qᵀ = I, no channel stands out:

    readers   y = W (γ ∘ n(x)) + W β + b    becomes   (W γ Q) n(x Q) + (W β + b)
    writers   x += W h + b                  becomes   x Q += Qᵀ W h + Qᵀ b

where n(x) = x / sqrt(mean x² + ε) does not care about Q. A LayerNormalization is brought to that
form first: γ and β go into its readers, and writers are centred, W - mean over outputs, so that the
mean that it would take away is zero already. Q = diag(±1) H / √n is a Hadamard matrix with random
signs where there is one of that order (powers of two, 12, 20, 28, 36 times these ...), else an
orthogonal matrix drawn at random.

Two more rotations go with it: of each head's values, into the value and out of the output
projection; and, where asked for, one that is computed at run time, between an activation function
and the layer behind it (an Einsum with a Hadamard matrix, in blocks where there is no whole one).
The float output stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import onnx_ir as ir
import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.passes.base import FoldRecord, average, record, set_constant, wide
from workbench.graph.passes.channels import layers_of
from workbench.graph.passes.heads import Heads, heads_of
from workbench.graph.passes.linear import Linear
from workbench.graph.passes.registry import Measured, Transform, transformation
from workbench.graph.passes.residual import Stream, streams
from workbench.graph.passes.rms import make_plain, norms_of
from workbench.graph.tensors import add_initializer, unique, value_names
from workbench.maths.hadamard import block_hadamard, random_orthogonal, randomised_hadamard

Basis = Literal["hadamard", "orthogonal"]
#: functions whose result the layer behind them gets rotated at run time
_NONLINEAR = frozenset(
    {"Gelu", "FastGelu", "QuickGelu", "BiasGelu", "Relu", "Swish", "Mul", "Sigmoid", "Tanh"}
)


class RotateOptions(Options):
    """Options of rotation."""

    seed: Annotated[int, Field(ge=0, le=2**31, description="draws the signs, or the matrix")] = 0
    basis: Annotated[
        Basis, Field(description="Hadamard where there is one of that order, or any orthogonal")
    ] = "hadamard"
    stream: Annotated[bool, Field(description="rotate the residual stream")] = True
    heads: Annotated[bool, Field(description="rotate the values of each attention head")] = True
    online: Annotated[
        bool, Field(description="also rotate at run time behind activation functions")
    ] = False


@transformation(
    "rotate",
    title="Random rotation of the residual stream",
    citation="Ashkboos et al. 2024, arXiv:2404.00456",
    order=50,
    exact=True,
    options=RotateOptions,
    signal="none, chance",
    data="none",
    cost="seconds",
    cells=("transform/regulariser",),
    strategy="constraints",
    use="pre-norm transformers at 4 bits for weights and activations; compare a few seeds",
)
class Rotate(Transform):
    """Spreads what stands out in single channels over all of them."""

    options: RotateOptions

    def apply(self, model: ir.Model, measured: Measured) -> FoldRecord:
        return rotate(model, self.options)


def rotate(
    model: ir.Model, options: RotateOptions | None = None, matrices: Measured | None = None
) -> FoldRecord:
    """Rotate what the architecture allows; what it does not is told in the record.

    Args:
        model: folded, with known shapes.
        options: what to rotate, and how.
        matrices: `(width, width)` orthogonal, for the streams in order as "0", "1" ...; drawn by
            the options where absent.
    """
    options = options or RotateOptions()
    done: list[str] = []
    before = peaks(model.graph)
    if options.online:
        done += _rotate_online(model.graph)
    if options.heads:
        generator = seeded(options.seed + 2**32)
        for heads in heads_of(model.graph):
            q = drawn(heads.size, options.basis, generator)
            _rotate_heads(model.graph, heads, q)
            done.append(f"heads of '{heads.value.node.name}'")
    found, refused = streams(model.graph) if options.stream else ([], [])
    generator = seeded(options.seed)
    for index, stream in enumerate(found):
        fresh = drawn(stream.width, options.basis, generator)
        q = (matrices or {}).get(str(index), fresh).double()
        normalize(model, stream)
        rotate_stream(model.graph, stream, q)
        done.insert(index, f"stream of {stream.width} channels, {len(stream.layers)} layers")
    left = f"stream left: {refused[0]}" if refused else ""
    more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
    measures = {"weight peak, max / rms": (before, peaks(model.graph))} if done else {}
    return record("rotated", done, left + more, measures)


def normalize(model: ir.Model, stream: Stream) -> None:
    """γ and β into the readers, writers centred, and norms written as root mean squares."""
    opset = model.opset_imports.get("", 1)
    centres = stream.centres
    for norm, readers in stream.norms:
        for layer in readers:
            if norm.offset is not None:
                layer.bias = layer.bias + layer.response(norm.offset)
            if norm.gain is not None:
                layer.scale_inputs(norm.gain)
            layer.write(model.graph)
        make_plain(model.graph, opset, norm)
    if not centres:
        return
    for layer in stream.writers:
        layer.weight.sub_(layer.weight.mean(1, keepdim=True))
        layer.bias = layer.bias - layer.bias.mean()
        layer.write(model.graph)
    _map_constants(model.graph, stream, lambda c: c - c.mean(-1, keepdim=True))


def rotate_stream(graph: ir.Graph, stream: Stream, q: Tensor) -> None:
    """x becomes x Q: readers take it back, writers and constants follow."""
    readers = {layer for _, found in stream.norms for layer in found} | set(stream.direct)
    writers = set(stream.writers)
    for layer in stream.layers:
        if layer in readers:
            turn_inputs(layer, q)
        if layer in writers:
            turn_outputs(layer, q)
        layer.write(graph)
    _map_constants(graph, stream, lambda c: c @ q)


def turned_inputs(weight: Tensor, q: Tensor) -> Tensor:
    """W Q, for inputs x Q; W as in `Linear`."""
    return torch.einsum("goit,ij->gojt", weight, q)


def turned_outputs(weight: Tensor, q: Tensor) -> Tensor:
    """Qᵀ W, for outputs y Q; W as in `Linear`."""
    return torch.einsum("goit,oj->gjit", weight, q)


def turn_inputs(layer: Linear, q: Tensor) -> None:
    """The layer reads x Q from now on."""
    layer.weight.copy_(turned_inputs(layer.weight, q))


def turn_outputs(layer: Linear, q: Tensor) -> None:
    """The layer gives y Q from now on."""
    layer.weight.copy_(turned_outputs(layer.weight, q))
    layer.bias = layer.bias @ q


def spread(constant: Tensor, width: int) -> Tensor:
    """A constant with all channels on its last axis, also where one value stood for all."""
    return constant.expand(*constant.shape[:-1], width)


def peaks(graph: ir.Graph) -> float:
    """max |W| over its root mean square, for each output channel: mean over channels and layers."""
    means = []
    for layer in layers_of(graph).values():
        rows = layer.weight.flatten(0, 1).flatten(1)
        size = rows.square().mean(1).sqrt()
        alive = size > 0
        if rows.shape[1] > 1 and bool(alive.any()):
            means.append(float((rows.abs().amax(1)[alive] / size[alive]).mean()))
        del layer.weight
    return average(means)


def seeded(seed: int) -> torch.Generator:
    """Chance that repeats."""
    return torch.Generator().manual_seed(seed)


def drawn(size: int, basis: Basis, generator: torch.Generator) -> Tensor:
    """A rotation, `(size, size)` float64."""
    found = randomised_hadamard(size, generator) if basis == "hadamard" else None
    return random_orthogonal(size, generator) if found is None else found


def _map_constants(graph: ir.Graph, stream: Stream, change: Callable[[Tensor], Tensor]) -> None:
    for node, index in stream.constants:
        value = node.inputs[index]
        assert value is not None
        changed = change(spread(wide(value), stream.width))
        dtype = torch.float64 if value.dtype == ir.DataType.DOUBLE else torch.float32
        set_constant(graph, node, index, changed.to(dtype), str(value.name))


def _rotate_heads(graph: ir.Graph, heads: Heads, q: Tensor) -> None:
    for layer, turn, count in (
        (heads.value, turn_outputs, heads.value.outputs),
        (heads.output, turn_inputs, heads.output.shape[2]),
    ):
        turn(layer, torch.block_diag(*[q] * (count // heads.size)))
        layer.write(graph)


def _rotate_online(graph: ir.Graph) -> Iterator[str]:
    """An Einsum with a Hadamard matrix before each layer behind an activation function."""
    taken = value_names(graph) | {str(node.name) for node in graph}
    held: dict[int, ir.Value] = {}
    gains = {id(layer.data) for layer in _behind_norms(graph)}
    for layer in list(layers_of(graph).values()):
        value = layer.data
        maker = None if value is None else value.producer()
        if value is None or maker is None or maker.op_type not in _NONLINEAR or id(value) in gains:
            continue
        if value.shape is None or layer.input_axis != len(value.shape) - 1:
            continue
        width = layer.shape[2]
        q = block_hadamard(width)
        if width not in held:
            name = unique(f"hadamard.{width}", taken)
            held[width] = add_initializer(graph, name, q.float())
        turn_inputs(layer, q)
        layer.write(graph)
        _insert(graph, layer, held[width], unique(f"{value.name}.rotated", taken))
        yield f"inputs of '{layer.node.name}' at run time"


def _behind_norms(graph: ir.Graph) -> Iterator[Linear]:
    """Layers that read a normalized value."""
    results = {norm.result for norm in norms_of(graph)}
    return (layer for layer in layers_of(graph).values() if layer.data in results)


def _insert(graph: ir.Graph, layer: Linear, matrix: ir.Value, name: str) -> None:
    value = layer.data
    assert value is not None
    equation = {"equation": ir.AttrString("equation", "...i,ij->...j")}
    made = ir.Node("", "Einsum", [value, matrix], equation.values(), num_outputs=1, name=name)
    result = made.outputs[0]
    result.name, result.shape, result.type = name, value.shape, value.type
    graph.insert_before(layer.node, made)
    index = next(i for i, read in enumerate(layer.node.inputs) if read is value)
    layer.node.replace_input_with(index, result)
