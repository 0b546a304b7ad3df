"""What no output needs."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from workbench.graph.passes.base import FoldRecord, record


def remove_unused(model: ir.Model) -> FoldRecord:
    """Nodes and initializers that no output needs."""
    before = {str(node.name) for node in model.graph}
    common.RemoveUnusedNodesPass()(model)
    return record("unused removed", sorted(before - {str(node.name) for node in model.graph}))
