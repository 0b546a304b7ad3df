"""The output channels of a layer, float and quantized, and the parameters that move them.

Methods that mend a quantized network without learning codes move two things: what is added to each
channel (the bias, or the constant behind a product), and the scales of each channel's weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import FUSED, RECURRENT, Layer, Site
from workbench.maths.normal import ChannelStatistics
from workbench.methods.resume import quantized_layers
from workbench.methods.walk import LayerStop, Walk
from workbench.quantizers.codes import Codes


@dataclass(frozen=True)
class Outputs:
    """What a layer gives, channel by channel, its offset included; `(channels,)`, float64.

    Attributes:
        mean, deviation: in the float network.
        quantized_mean, quantized_deviation: behind the quantized prefix, with the quantizers and
            the offset that are there now.
    """

    mean: Tensor
    deviation: Tensor
    quantized_mean: Tensor
    quantized_deviation: Tensor


def movable(model: QuantizedGraph) -> list[Layer]:
    """Layers with a quantized weight and something to add to each output channel."""
    return [layer for layer in quantized_layers(model) if _offset(model, layer) is not None]


def fixed(model: QuantizedGraph) -> list[str]:
    """Names of layers with a quantized weight whose output cannot be shifted."""
    return [layer.name for layer in quantized_layers(model) if _offset(model, layer) is None]


def told(layers_left: list[str], shown: int = 3) -> str:
    """A sentence about layers whose output cannot be shifted, or nothing."""
    if not layers_left:
        return ""
    names = ", ".join(layers_left[:shown]) + (" ..." if len(layers_left) > shown else "")
    return f"{len(layers_left)} layers without a bias are left as they are: {names}"


def offset(model: QuantizedGraph, layer: Layer) -> nn.Parameter:
    """What is added to each output channel of one of the `movable` layers."""
    found = _offset(model, layer)
    assert found is not None
    return found


def original(model: QuantizedGraph, initializer: str) -> Tensor:
    """The value that a parameter has in the float network."""
    return model.graph.parameter(initializer).detach()


def shift(model: QuantizedGraph, layer: Layer, change: Tensor) -> None:
    """Add to the offset of one of the `movable` layers; `change` is `(channels,)`."""
    parameter = offset(model, layer)
    with torch.no_grad():
        parameter.add_(change.reshape(parameter.shape).to(parameter.dtype))


@torch.no_grad()
def gather(walk: Walk, model: QuantizedGraph, stop: LayerStop) -> Outputs:
    """Statistics of the output of one of the `movable` layers, about to be computed."""
    axis = output_axis(stop.layer)
    floats, quantized = ChannelStatistics(), ChannelStatistics()
    for left, right in stop.arguments():
        floats.add(walk.call(stop.node, left), axis)
        quantized.add(walk.call(stop.node, right), axis)
    means = floats.mean, quantized.mean
    if stop.layer.bias is None:  # it is added behind
        added = original(model, str(stop.layer.offset)).double()
        means = means[0] + added, means[1] + offset(model, stop.layer).double()
    return Outputs(means[0], floats.deviation, means[1], quantized.deviation)


def output_axis(layer: Layer) -> int:
    """Where the channels of a layer's output lie."""
    if layer.op == "MatMul":
        return -1 if layer.weights[0].index == 1 else -2
    return 1 if "Conv" in layer.op else -1


@torch.no_grad()
def rescale(model: QuantizedGraph, site: Site, layer: Layer, factors: Tensor) -> bool:
    """Multiply the scales of a weight's channels; its codes stay. False on one scale per tensor.

    Args:
        model, site, layer: the weight, of this layer.
        factors: `(channels,)`, positive.
    """
    axis = next(w.channel_axis for w in layer.weights if w.name == site.name)
    before = model.quantizer(site.name)
    scale, zero_point = before.affine()
    spread = site.grid.granularity.kind
    if spread == "tensor" or (spread == "channel" and site.grid.granularity.axis != axis):
        return False
    shape = [1] * scale.ndim
    shape[0 if spread == "channel" else axis] = -1
    chosen = Codes(site.grid, site.shape)
    chosen.take(before)
    chosen.set_codes(before.codes(model.weight(site.name)))
    chosen.set_affine(scale * factors.reshape(shape).to(scale.dtype), zero_point)
    model.set_quantizer(site.name, chosen)
    return True


def _offset(model: QuantizedGraph, layer: Layer) -> nn.Parameter | None:
    """None for recurrences, tables, fused operators, scaled biases, and where nothing is added."""
    if layer.offset is None or layer.op in (RECURRENT | FUSED | {"Gather"}):
        return None
    parameter = model.parameter(layer.offset)
    channels = layer.shape[layer.weights[0].channel_axis]
    call = node_of(model, layer.name)
    whole = call.kwargs.get("beta", 1.0) == 1.0
    return parameter if whole and parameter.numel() == channels else None


def node_of(model: QuantizedGraph, name: str) -> fx.Node:
    """The call of an ONNX node."""
    nodes = model.module.graph.nodes
    return next(n for n in nodes if n.op == "call_function" and n.meta.get("onnx_node") == name)
