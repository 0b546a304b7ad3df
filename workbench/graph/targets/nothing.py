"""Why a target finds nothing to quantize in a model."""

from __future__ import annotations

import onnx_ir as ir

from workbench.graph.build import Graph
from workbench.graph.sites import WEIGHT_INPUTS, is_constant, layers
from workbench.graph.stored import stored_form
from workbench.graph.targets.base import Plan, Target

#: floats that are left alone: every grid starts from float32
OTHER_FLOATS = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})
SHOWN = 4


def why_nothing(graph: Graph, plan: Plan, target: Target) -> str:
    """The reason, with its cure, why `plan` leaves a model as it is; "" where it does not."""
    if any(site.kind == "weight" for site in plan.sites):
        return ""
    form = stored_form(graph.model)
    if form:
        return f"it is already quantized ({form}); use `workbench verify` to judge the file"
    if plan.sites:
        return ""
    if plan.layers:
        return "the recipe leaves every layer in float; give the weights or activations of one bits"
    narrow = _other_float(graph)
    if narrow:
        return f"its weights are {narrow}; convert the model to float32"
    found = layers(graph)
    if found:
        ops = ", ".join(sorted({layer.op for layer in found}))
        return f"target '{target.name}' leaves the weights of {ops} float; use another target"
    names = list(dict.fromkeys(node.op_type for node in graph.model.graph))
    ops = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    found_ops = f"only {ops}" if ops else "and no nodes at all"
    return (
        f"it has no layers with constant weights, {found_ops}; give a model with weights, such as"
        " those of Conv, Gemm or MatMul"
    )


def float_name(value: ir.Value | None) -> str:
    """`float16`, `bfloat16` or `double` where the value is of that type, else ""."""
    dtype = None if value is None else value.dtype
    return dtype.name.lower() if dtype is not None and dtype in OTHER_FLOATS else ""


def _other_float(graph: Graph) -> str:
    """The type of the first weight that is a float, but not float32; "" where there is none."""
    for node in graph.model.graph:
        for index in WEIGHT_INPUTS.get(node.op_type, ()):
            value = node.inputs[index] if index < len(node.inputs) else None
            if is_constant(value) and float_name(value):
                return float_name(value)
    return ""
