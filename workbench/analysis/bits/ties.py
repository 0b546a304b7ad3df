"""Which weights meet: in a residual sum, or because their layers read the same tensor.

Where integers are added, or a tensor is quantized once for two readers, some hardware wants both
sides in the same bits; HAWQ-V3 ties a shortcut's convolution to the one beside it for that reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import onnx_ir as ir

from workbench.graph.build import Graph
from workbench.graph.sites import Layer, is_constant, layers

#: operators that hand their first input on, value by value or in another order
CARRIERS = frozenset(
    {
        "Relu", "Clip", "LeakyRelu", "HardSwish", "Sigmoid", "Identity", "BatchNormalization",
        "LayerNormalization", "MaxPool", "AveragePool", "Reshape", "Transpose", "Flatten",
        "Squeeze", "Unsqueeze", "Dropout", "QuickGelu", "Gelu", "PRelu", "Cast",
    }
)  # fmt: skip


def residual_groups(graph: Graph) -> list[tuple[str, ...]]:
    """Layers whose outputs meet directly in an Add: their names, two or more."""
    known = {layer.name for layer in layers(graph)}
    found = []
    for left, right in _sums(graph):
        names = dict.fromkeys([*_before(left, known, 0), *_before(right, known, 0)])
        if len(names) > 1:
            found.append(tuple(names))
    return found


def residual_pairs(graph: Graph) -> list[tuple[str, str]]:
    """Layers whose outputs are added, one earlier Add between them at most."""
    known = {layer.name for layer in layers(graph)}
    found: dict[tuple[str, str], None] = {}
    for left, right in _sums(graph):
        for one in _before(left, known, 1):
            for other in _before(right, known, 1):
                if one != other and (other, one) not in found:
                    found[one, other] = None
    return list(found)


def common_inputs(graph: Graph) -> list[tuple[str, ...]]:
    """Layers that read the same tensor: their names, two or more."""
    readers: dict[str, list[str]] = {}
    for layer in layers(graph):
        readers.setdefault(layer.input, []).append(layer.name)
    return [tuple(names) for names in readers.values() if len(names) > 1]


def weights_of(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Names of the weights by layer."""
    return {layer.name: tuple(w.name for w in layer.weights) for layer in layers(graph)}


def of_weights(
    graph: Graph, groups: list[tuple[str, ...]], open_weights: set[str]
) -> list[tuple[str, ...]]:
    """Groups of layers as groups of their open weights; what has fewer than two is left out."""
    own = weights_of(graph)
    found = (tuple(w for name in group for w in own[name] if w in open_weights) for group in groups)
    return [group for group in found if len(group) > 1]


def pairs_of_weights(
    graph: Graph, pairs: list[tuple[str, str]], open_weights: set[str]
) -> list[tuple[str, str]]:
    """Pairs of layers as pairs of their open weights."""
    groups = of_weights(graph, [*pairs], open_weights)
    return list(dict.fromkeys(pair for group in groups for pair in combinations(group, 2)))


def layer_of(graph: Graph) -> dict[str, Layer]:
    """The first layer that reads each weight."""
    found: dict[str, Layer] = {}
    for layer in layers(graph):
        for weight in layer.weights:
            found.setdefault(weight.name, layer)
    return found


def _sums(graph: Graph) -> Iterator[tuple[ir.Value, ir.Value]]:
    """Both inputs of each Add of two computed tensors."""
    for node in graph.model.graph:
        if node.op_type == "Add" and not any(is_constant(value) for value in node.inputs):
            left, right = node.inputs
            assert left is not None
            assert right is not None
            yield left, right


def _before(value: ir.Value, known: set[str], sums: int) -> list[str]:
    """The nearest layers that a tensor comes from, through carriers and at most `sums` Adds."""
    node = value.producer()
    while node is not None and node.name not in known:
        inputs = [v for v in node.inputs if v is not None and not v.is_initializer()]
        if node.op_type == "Add" and len(inputs) == 2:
            if sums == 0:
                return []
            return [name for v in inputs for name in _before(v, known, sums - 1)]
        carries = node.op_type in CARRIERS or (node.op_type in ("Add", "Mul") and len(inputs) == 1)
        if not carries or not inputs:
            return []
        node = inputs[0].producer()
    return [] if node is None else [str(node.name)]
