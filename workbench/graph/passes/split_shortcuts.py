"""Shortcuts of their own: what a sum reads and what layers read can have different grids.

    y = max(x, 0)  for every layer that reads x,      x = max(., 0)  for every sum

A block of a residual network reads what it adds to, and a tensor has one grid, so at few bits every
sum adds what was cut down for a convolution. Published results at 4 bits and fewer quantize what
convolutions read, and leave the sum alone (Esser et al. 2020, arXiv:1902.08153; Li et al. 2020,
arXiv:1909.13144). The second maximum changes nothing, and is a tensor of its own:

    --transform split_shortcuts --override 'tensor:blocks.*.relu=8'
"""

from __future__ import annotations

import onnx_ir as ir

from workbench.graph.passes.base import FoldRecord, record
from workbench.graph.passes.channels import clip_limits
from workbench.graph.passes.registry import Measured, Transform, transformation
from workbench.graph.tensors import unique, value_names

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
MOVES = frozenset({"Pad", "MaxPool", "AveragePool", "Identity", "Slice", "Concat"})
NARROW = "narrow"  # ends the name of what layers read


@transformation(
    "split_shortcuts",
    title="Layers and sums read tensors of their own",
    citation="Esser et al. 2020, arXiv:1902.08153; Li et al. 2020, arXiv:1909.13144",
    order=90,
    exact=True,
    signal="none",
    data="none",
    cost="seconds",
    cells=("transform/tensor_error",),
    strategy="constraints",
    use="residual networks with activations of 4 bits and fewer, with 8 for what sums read",
)
class SplitShortcuts(Transform):
    """Puts a second ReLU between a tensor that sums read too and the layers that read it."""

    def apply(self, model: ir.Model, measured: Measured) -> FoldRecord:
        return split_shortcuts(model)


def split_shortcuts(model: ir.Model) -> FoldRecord:
    """Each ReLU that layers and a sum read gets a second one behind it for the layers."""
    graph, done = model.graph, []
    names = value_names(graph)
    for node in list(graph):
        if not _not_negative(node):
            continue
        value = node.outputs[0]
        layers = [use for use in value.uses() if use.node.op_type in LAYERS]
        if not layers or not _summed(value):
            continue
        name = unique(f"{value.name}.{NARROW}", names)
        second = ir.Node(
            "", "Relu", [value], num_outputs=1, name=unique(f"{node.name}.{NARROW}", names)
        )
        copy = second.outputs[0]
        copy.name, copy.shape, copy.type = name, value.shape, value.type
        names.add(name)
        graph.insert_after(node, second)
        for use in layers:
            use.node.replace_input_with(use.idx, copy)
        done.append(str(value.name))
    return record("shortcuts split from what layers read", done)


def _not_negative(node: ir.Node) -> bool:
    """A ReLU, or a Clip from zero on."""
    limits = clip_limits(node)
    return node.op_type == "Relu" or (limits is not None and limits[0] == 0.0 < limits[1])


def _summed(value: ir.Value) -> bool:
    """Whether a sum adds the value, as it is or moved."""
    for node in (use.node for use in value.uses()):
        if node.op_type == "Add":
            return True
        if node.op_type in MOVES and any(map(_summed, node.outputs)):
            return True
    return False
