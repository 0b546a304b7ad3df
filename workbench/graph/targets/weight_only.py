"""Weights stored small and unpacked where they are used: a small file, arithmetic in float.

Groups run along the axis that is summed. ONNX Runtime reads two-dimensional MatMul weights without
unpacking them (MatMulNBits) if a group has 16, 32, 64, ... values, or the whole axis one scale.
"""

from __future__ import annotations

from workbench.graph.sites import WEIGHT_INPUTS
from workbench.graph.targets.base import Target

WEIGHT_ONLY = Target(
    name="weight-only",
    title="Weights only (small file, float arithmetic)",
    runtime="float arithmetic",
    weight_ops=frozenset(WEIGHT_INPUTS),
    int32_bias=False,
    fuses=("MatMul with 2-, 4- or 8-bit weights becomes MatMulNBits",),
)
