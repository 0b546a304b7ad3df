"""The graph floor: ONNX in, a torch.fx module out, every tensor under its ONNX name."""

from __future__ import annotations

from workbench.graph.build import Graph, TensorSpec, build
from workbench.graph.fold import fold
from workbench.graph.load import from_module, load
from workbench.graph.passes.base import FoldRecord
from workbench.graph.taps import capture, value_nodes

__all__ = [
    "FoldRecord",
    "Graph",
    "TensorSpec",
    "build",
    "capture",
    "fold",
    "from_module",
    "load",
    "value_nodes",
]
