"""ReLU6 as ReLU, as cross-layer equalization wants it (Nagel et al. 2019, arXiv:1906.04721).

    min(max(x, 0), 6)  becomes  max(x, 0)

This is no identity: it is exact where nothing exceeds the limit. The difference is measured like
that of every pass.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from workbench.graph.passes.base import FoldRecord, hand_over, record
from workbench.graph.passes.channels import clip_limits
from workbench.graph.passes.registry import Measured, Transform, transformation


@transformation(
    "relu6-to-relu",
    title="ReLU6 becomes ReLU",
    citation="Nagel et al. 2019, arXiv:1906.04721",
    order=10,
    exact=False,
    signal="none",
    data="none",
    cost="seconds",
    cells=("transform/tensor_error",),
    strategy="constraints",
    use="before equalize, where few values reach the limit",
)
class Unclip(Transform):
    """Takes the upper limit away, so that channels can be rescaled."""

    def apply(self, model: ir.Model, measured: Measured) -> FoldRecord:
        return relu6_to_relu(model)


def relu6_to_relu(model: ir.Model) -> FoldRecord:
    """Each Clip between zero and a positive limit becomes a Relu."""
    done = []
    for node in list(model.graph):
        limits = clip_limits(node)
        if limits is None or limits[0] != 0.0 or not 0.0 < limits[1] < math.inf:
            continue
        relu = ir.Node("", "Relu", [node.inputs[0]], num_outputs=1, name=node.name)
        result = node.outputs[0]
        relu.outputs[0].shape, relu.outputs[0].type = result.shape, result.type
        model.graph.insert_before(node, relu)
        hand_over(model.graph, relu.outputs[0], result)
        done.append(str(node.name))
    return record("upper limits removed", done, "not exact above the limit" if done else "")
