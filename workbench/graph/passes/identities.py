"""Nodes that hand on what they get: `y = x`."""

from __future__ import annotations

import onnx_ir as ir

from workbench.graph.passes.base import FoldRecord, record
from workbench.graph.tensors import constant_of


def remove_identities(model: ir.Model) -> FoldRecord:
    """Identity, Dropout at inference and Cast to the type at hand: `y = x`."""
    done = []
    for node in list(model.graph):
        source = node.inputs[0] if node.inputs else None
        if source is None or not _is_identity(node, source):
            continue
        if not bypass(node, source):
            continue
        done.append(str(node.name))
        model.graph.remove(node, safe=True)
    return record("identities removed", done)


def _is_identity(node: ir.Node, source: ir.Value) -> bool:
    if node.domain:
        return False
    if node.op_type == "Dropout":
        mode = node.inputs[2] if len(node.inputs) > 2 else None
        training = constant_of(mode)
        inference = mode is None or (training is not None and not training.numpy().any())
        return inference and not any(value.uses() for value in node.outputs[1:])
    if node.op_type == "Cast":
        return source.dtype is not None and int(source.dtype) == node.attributes["to"].as_int()
    if node.op_type == "CastLike":
        like = node.inputs[1]
        return source.dtype is not None and like is not None and like.dtype == source.dtype
    return node.op_type == "Identity"


def bypass(node: ir.Node, source: ir.Value) -> bool:
    """Readers of the node read `source`; a graph output hands its name to the source."""
    result = node.outputs[0]
    if result.is_graph_output():
        inner = source.producer() is not None and not source.is_graph_output()
        if not inner:
            return False
        name, result.name = result.name, f"{result.name}\0old"
        source.name = name
        source.shape = source.shape or result.shape
        source.type = source.type or result.type
    result.replace_all_uses_with(source, replace_graph_outputs=True)
    return True
