"""Batch normalization into the layer before it, or the layer after it.

With `a = gamma / sqrt(var + epsilon)` and `c = beta - a mean` per channel, `BN(x) = a x + c`, so

    BN(W x + b) = (a W) x + (a b + c)            the layer before: each output channel is scaled
    W BN(x) + b = (W a) x + (b + W c)            the layer after: each input channel is scaled

Transposes and reshapes may lie between. The second form is exact only where no zeros are padded,
for padding comes after the norm and has no `c`; other convolutions are left alone unless `c` is 0.
"""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor

from workbench.graph.passes.base import FoldRecord, hand_over, record, wide
from workbench.graph.passes.identities import bypass
from workbench.graph.passes.linear import Linear, linear
from workbench.graph.passes.route import Route, follow
from workbench.graph.tensors import constant_of, unique, value_names


def fold_batch_norms(model: ir.Model) -> FoldRecord:
    """BatchNormalization into the linear node before it: `(a W) x + (a b + c)`.

    A missing bias is made, as `<weight stem>.bias`. The layer's output takes the name of the
    normalized value, which is what it now holds. What the training data looked like there stays on
    the value, as `meta["batch_norm"] = (beta, |gamma|)`: the mean and deviation per channel.
    """
    done = []
    normalized = any(node.op_type == "BatchNormalization" for node in model.graph)
    for node in list(model.graph) if normalized else ():
        while (layer := linear(node)) is not None and (route := _norm_behind(layer)) is not None:
            done.append(str(route.reader.name))
            _fold_into_host(model.graph, layer, route)
    return record("batch norms folded", done)


def fold_leading_batch_norms(model: ir.Model) -> FoldRecord:
    """BatchNormalization into the linear node behind it: `(W a) x + (b + W c)`."""
    done, padded = [], []
    for node in list(model.graph):
        found = _layer_behind(node)
        if found is None:
            continue
        layer, route = found
        a, c = _affine(node)
        if layer.pads_with_zeros and bool(c.any()):
            padded.append(str(node.name))
            continue
        source = node.inputs[0]
        if source is None or not bypass(node, source):
            continue
        _rename(model.graph, route.nodes, "unnormalized")
        layer.bias = layer.bias + layer.response(route.spread(c))
        layer.scale_inputs(route.spread(a))
        layer.write(model.graph)
        model.graph.remove(node, safe=True)
        done.append(str(node.name))
    note = f"{len(padded)} left before padded convolutions" if padded else ""
    return record("leading batch norms folded", done, note)


def _norm_behind(layer: Linear) -> Route | None:
    """The way to a BatchNormalization that can go into `layer`."""
    axis = layer.output_axis
    route = None if axis is None else follow(layer.output, axis, layer.outputs)
    if route is None or not _is_affine(route.reader):
        return None
    plain = (route.index, route.axis, route.repeat) == (0, 1, 1)
    return route if plain and wide(route.reader.inputs[1]).numel() == layer.outputs else None


def _is_affine(node: ir.Node) -> bool:
    """A BatchNormalization whose statistics are constants, and whose only result is `y`."""
    if node.op_type != "BatchNormalization" or node.domain:
        return False
    single = not any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
    known = all(constant_of(value) is not None for value in node.inputs[1:])
    return single and known and not node.attributes.get_int("training_mode", 0)


def _layer_behind(node: ir.Node) -> tuple[Linear, Route] | None:
    """The layer that alone reads the normalized value, channel by channel."""
    if not _is_affine(node):
        return None
    size = wide(node.inputs[1]).numel()
    route = follow(node.outputs[0], 1, size)
    layer = None if route is None else linear(route.reader)
    if route is None or layer is None or layer.data is not route.reader.inputs[route.index]:
        return None
    fits = layer.input_axis == route.axis
    inputs = layer.shape[0] * layer.shape[2]
    return (layer, route) if fits and inputs == size * route.repeat else None


def _affine(norm: ir.Node) -> tuple[Tensor, Tensor]:
    """a and c of each channel, float64."""
    gamma, beta, mean, var = (wide(value) for value in norm.inputs[1:5])
    a = gamma / torch.sqrt(var + norm.attributes.get_float("epsilon", 1e-5))
    return a, beta - a * mean


def _fold_into_host(graph: ir.Graph, layer: Linear, route: Route) -> None:
    norm = route.reader
    gamma, beta = wide(norm.inputs[1]), wide(norm.inputs[2])
    a, c = _affine(norm)
    layer.scale_outputs(a)
    layer.bias = layer.bias + c
    layer.write(graph)
    if route.nodes:
        _rename(graph, route.nodes[:-1], "normalized")
        layer.output.name = unique(f"{layer.output.name}.normalized", value_names(graph))
    last = route.nodes[-1].outputs[0] if route.nodes else layer.output
    hand_over(graph, last, norm.outputs[0])
    layer.output.meta["batch_norm"] = (beta.float(), gamma.abs().float())


def _rename(graph: ir.Graph, nodes: tuple[ir.Node, ...], suffix: str) -> None:
    """New names for values whose content is new."""
    taken = value_names(graph)
    for node in nodes:
        node.outputs[0].name = unique(f"{node.outputs[0].name}.{suffix}", taken)
