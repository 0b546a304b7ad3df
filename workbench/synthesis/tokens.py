"""Which numbers a network takes for tokens: the rows of the table that it looks them up in."""

from __future__ import annotations

from workbench.foundation.errors import DataError
from workbench.graph.build import Graph
from workbench.graph.tensors import constant_of

#: what may lie between an input and the look-up without changing which token is meant
_HARMLESS = frozenset({"Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten"})


def vocabulary(graph: Graph, name: str) -> int | None:
    """How many tokens the input `name` tells apart; None where it is looked up in no table."""
    waiting = [value for value in graph.model.graph.inputs if value.name == name]
    sizes: list[int] = []
    while waiting:
        value = waiting.pop()
        for node, index in value.uses():
            table = constant_of(node.inputs[0])
            if node.op_type == "Gather" and index == 1 and table is not None:
                sizes.append(table.numpy().shape[node.attributes.get_int("axis", 0)])
            elif node.op_type in _HARMLESS and index == 0:
                waiting.extend(node.outputs)
    return min(sizes, default=None)


def require_language_model(graph: Graph, title: str) -> int:
    """The vocabulary of a model of one input that predicts the next token.

    Raises:
        DataError: the model is none.
    """
    inputs, output = graph.inputs, graph.outputs[0]
    size = vocabulary(graph, inputs[0].name) if len(inputs) == 1 else None
    predicts = len(inputs[0].shape) == 2 and len(output.shape) == 3
    if size is None or not predicts or inputs[0].dtype.is_floating_point:
        raise DataError(
            f"{title} needs a model of one input of tokens that predicts the next one, and this"
            f" takes {_described(graph)}; give data, or calibrate on 'random'"
        )
    return size


def _described(graph: Graph) -> str:
    return ", ".join(f"'{spec.name}' {tuple(spec.shape)}" for spec in graph.inputs)
