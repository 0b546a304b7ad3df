"""How exact float arithmetic itself is: each tensor in 32 bits against the same in 64."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from workbench.analysis.damage import TensorSums
from workbench.graph.build import Graph
from workbench.graph.taps import capture


@torch.no_grad()
def float_floor(graph: Graph, inputs: tuple[Tensor, ...]) -> dict[str, TensorSums]:
    """By ONNX name; empty where the network cannot be run in 64 bits, as with a cast inside.

    Args:
        graph: the float network.
        inputs: a few examples; all tensors are held at once.
    """
    wide = copy.deepcopy(graph.module).double()
    given = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    try:
        exact = capture(wide, given)
    except (RuntimeError, TypeError, ValueError):
        return {}
    found = capture(graph.module, inputs)
    return {
        name: TensorSums.between(value, found[name])
        for name, value in exact.items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.dtype == torch.float64
    }
