"""What batch normalization knows of the training data: mean and deviation of inner values.

A norm that was folded into its layer leaves them on the layer's output, which is the normalized
value: its mean is β and its deviation |γ|. One that stayed has the running mean and variance of its
input.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor

from workbench.graph.tensors import constant_of, to_torch


@dataclass(frozen=True)
class Norm:
    """The training statistics of one value.

    Attributes:
        value: its name in the graph; node: the name of the node that makes it, or "".
        axis: where its channels lie, 1 or -1.
        mean, deviation: of each channel, `(channels,)` float32.
    """

    value: str
    node: str
    axis: int
    mean: Tensor
    deviation: Tensor


def norms(model: ir.Model, nodes: Collection[str] | None = None) -> list[Norm]:
    """The values with known statistics, in the order of the graph.

    Args:
        model: folded or not.
        nodes: names of the nodes whose values count; None for all.
    """
    found = [norm for node in model.graph for norm in (_folded(node), _kept(node)) if norm]
    return [norm for norm in found if nodes is None or norm.node in nodes]


def _folded(node: ir.Node) -> Norm | None:
    """Of a layer that took in its batch norm."""
    for value in node.outputs:
        if "batch_norm" in value.meta:
            mean, deviation = value.meta["batch_norm"]
            axis = 1 if node.op_type.startswith("Conv") else -1
            return Norm(str(value.name), str(node.name), axis, mean, deviation)
    return None


def _kept(node: ir.Node) -> Norm | None:
    """Of the value that a batch norm of the graph reads."""
    source = node.inputs[0] if node.op_type == "BatchNormalization" else None
    held = [tensor for tensor in map(constant_of, node.inputs[3:5]) if tensor is not None]
    if source is None or len(held) < 2:
        return None
    mean, variance = (to_torch(tensor).float() for tensor in held)
    deviation = torch.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    producer = source.producer()
    name = "" if producer is None else str(producer.name)
    return Norm(str(source.name), name, 1, mean, deviation)
