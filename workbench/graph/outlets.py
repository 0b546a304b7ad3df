"""A network that also gives its inner values, with gradients: what signals on features look at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import fx

from workbench.graph.build import Network
from workbench.graph.taps import named_nodes

_HELD = ("_parameters", "_buffers", "_modules")


def with_outlets(module: fx.GraphModule, names: Iterable[str]) -> fx.GraphModule:
    """The same network, whose result goes on, behind the outputs, with the named inner values.

    Nothing is copied: parameters, buffers and submodules are those of `module`, also where they are
    moved to a device or replaced later on. Only the code is its own, so what is rewired in `module`
    afterwards is not seen.

    Args:
        module: of a graph, or of a graph with quantizers.
        names: ONNX values, graph inputs among them; in the order in which they are given.

    Raises:
        ModelError: a name that the graph does not compute.
    """
    copied = fx.Graph()
    known: dict[fx.Node, fx.Node] = {}
    outputs = cast(tuple[fx.Node, ...], copied.graph_copy(module.graph, known))
    inner = (known[node] for node in named_nodes(module, names))
    copied.output((*outputs, *inner))
    found = Network(module, copied)
    for kind in _HELD:
        setattr(found, kind, getattr(module, kind))
    found.training = module.training
    return found
