"""What is known before any input is seen: Constant nodes, shapes, and what follows from them."""

from __future__ import annotations

import logging
import math

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from workbench.foundation.errors import WorkbenchError
from workbench.graph.nodes import evaluate
from workbench.graph.passes.base import FoldRecord, record, replace_by_constant
from workbench.graph.tensors import constant_node_tensor, constant_of, to_torch

logger = logging.getLogger(__name__)

SMALL_RESULT = 1 << 16  # elements a folded constant may have beyond those of its inputs
_NEVER_FOLDED = frozenset(
    {
        "Bernoulli",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "Multinomial",
        "QuantizeLinear",
        "RandomNormalLike",
        "RandomUniformLike",
        "Shape",
        "Size",
    }
)
_REARRANGED = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast"})
_SUBGRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def lift_constants(model: ir.Model) -> FoldRecord:
    """Constant nodes become initializers of the same name."""
    done = []
    for node in list(model.graph):
        value = node.outputs[0]
        if node.op_type != "Constant" or node.domain or value.is_graph_output():
            continue
        done.append(str(node.name))
        replace_by_constant(model.graph, node, value, to_torch(constant_node_tensor(node)))
    return record("constant nodes to initializers", done)


def fold_shapes(model: ir.Model) -> FoldRecord:
    """Sizes that are known become constants: a Shape, a Size, or what a Gather picks of a Shape."""
    done = []
    for node in list(model.graph):
        known = None if node.domain or node.outputs[0].is_graph_output() else _known_sizes(node)
        if known is not None:
            done.append(str(node.name))
            replace_by_constant(model.graph, node, node.outputs[0], known)
    return record("known shapes", done)


def _known_sizes(node: ir.Node) -> Tensor | None:
    """What a node says about the sizes of a tensor, int64; None where one of them is open."""
    sizes: list[int | ir.SymbolicDim] | None
    if node.op_type == "Gather" and node.inputs[0] is not None:
        shape, indices = node.inputs[0].producer(), constant_of(node.inputs[1])
        sizes = None if shape is None else _sizes(shape)
        if sizes is None or indices is None:
            return None
        places = indices.numpy()
        if np.any(places >= len(sizes)) or np.any(places < -len(sizes)):
            return None
        return _integers([sizes[place] for place in places.flat], places.shape)
    sizes = _sizes(node)
    if node.op_type == "Size" and node.inputs[0] is not None and node.inputs[0].shape is not None:
        known = _integers(list(node.inputs[0].shape), (-1,))
        return None if known is None else known.prod()
    return None if sizes is None else _integers(sizes, (-1,))


def _sizes(node: ir.Node) -> list[int | ir.SymbolicDim] | None:
    """What a Shape node gives, with open sizes; None for other nodes and unknown ranks."""
    source = node.inputs[0] if node.inputs else None
    if node.op_type != "Shape" or node.domain or source is None or source.shape is None:
        return None
    start = node.attributes.get_int("start", 0)
    end = node.attributes.get_int("end", len(source.shape))
    return list(source.shape)[start:end]


def _integers(sizes: list[int | ir.SymbolicDim], shape: tuple[int, ...]) -> Tensor | None:
    known = [size for size in sizes if isinstance(size, int)]
    whole = len(known) == len(sizes)
    return torch.tensor(known, dtype=torch.int64).reshape(shape) if whole else None


def fold_constants(model: ir.Model) -> FoldRecord:
    """Nodes that read constants alone are computed now, where the result is no great burden.

    A rearranged weight (Transpose, Reshape ...) that nothing else reads keeps its name. Quantizers
    are left, for their integers are the point.
    """
    done = []
    for node in list(model.graph):
        if not _foldable(node):
            continue
        result = _folded_value(node, model.opset_imports)
        if result is None:
            continue
        done.append(str(node.name))
        _put_result(model.graph, node, result)
    return record("constants folded", done)


def _foldable(node: ir.Node) -> bool:
    inputs = [value for value in node.inputs if value is not None]
    return (
        node.op_type not in _NEVER_FOLDED
        and bool(inputs)
        and len(node.outputs) == 1
        and not node.outputs[0].is_graph_output()
        and all(constant_of(value) is not None for value in inputs)
        and not any(attribute.type in _SUBGRAPHS for attribute in node.attributes.values())
    )


def _folded_value(node: ir.Node, opsets: dict[str, int]) -> Tensor | None:
    """The node's value, or None where it cannot or should not be folded."""
    constants = [constant_of(value) for value in node.inputs]
    if any(c is not None and c.dtype.itemsize < 1 for c in constants):
        return None
    burden = SMALL_RESULT + sum(c.size for c in constants if c is not None)
    shape = node.outputs[0].shape
    if shape is not None and shape.is_static() and math.prod(shape.numpy()) > burden:
        return None
    try:
        result = evaluate(node, [None if c is None else to_torch(c) for c in constants], opsets)
    except (WorkbenchError, RuntimeError, ValueError, TypeError, IndexError) as error:
        logger.debug("node %r was not folded: %s", node.name, error)
        return None
    return result if isinstance(result, Tensor) and result.numel() <= burden else None


def _put_result(graph: ir.Graph, node: ir.Node, result: Tensor) -> None:
    source = node.inputs[0]
    assert source is not None
    keeps = node.op_type in _REARRANGED and len(source.uses()) == 1 and source.name
    name = str(source.name) if keeps and not source.is_graph_output() else None
    if name is not None:
        node.replace_input_with(0, None)
        del graph.initializers[name]
    replace_by_constant(graph, node, node.outputs[0], result, name)
