"""Activation functions that are part of the layer before them.

Integer kernels write codes, and codes end where their range ends, so a Relu or Clip behind a layer
costs nothing and needs no quantizer of its own: the site of the layer's output sits behind it.
"""

from __future__ import annotations

from workbench.graph.build import Graph
from workbench.graph.sites import layers
from workbench.graph.targets.rules import follow_limiters


def fused_activations(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Layer -> the Relu and Clip nodes that alone read its output, in order.

    Layers without any are left out. The bias that a MatMul adds in a node of its own lies between.
    """
    values = {str(value.name): value for node in graph.model.graph for value in node.outputs}
    found: dict[str, tuple[str, ...]] = {}
    for layer in layers(graph):
        value = values[layer.output]
        uses = list(value.uses())
        if layer.op == "MatMul" and layer.offset is not None and len(uses) == 1:
            value = uses[0].node.outputs[0]
        _, limiters = follow_limiters(value)
        if limiters:
            found[layer.name] = tuple(str(node.name) for node in limiters)
    return found
