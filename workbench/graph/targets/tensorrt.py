"""NVIDIA TensorRT with explicit quantization: symmetric int8, or int4 blocks for weights alone.

Q/DQ pairs stand in front of layers with weights, in front of products of activations, and on the
skip side of residual sums; TensorRT moves them through pools and movers and fuses outputs itself
(its developer guide, "Working with quantized types"). All zero-points are 0, biases stay float.
"""

from __future__ import annotations

from workbench.graph.targets.base import Target
from workbench.graph.targets.rules import MOVERS, Rule

_START = Rule(starts=True, writes=False)
_PASS = Rule(shares=True, writes=False)

TENSORRT = Target(
    name="tensorrt",
    title="NVIDIA TensorRT",
    runtime="TensorRT",
    rules={
        "Conv": _START,
        "ConvTranspose": _START,
        "Gemm": _START,
        "MatMul": Rule(inputs=(0, 1), starts=True, writes=False),
        "Add": Rule(inputs=(0, 1), starts=True, writes=False, skips_made=True),
        "Concat": Rule(inputs=None, shares=True, writes=False),
        "MaxPool": _PASS,
        "AveragePool": _PASS,
        "GlobalAveragePool": _PASS,
        **dict.fromkeys(MOVERS, _PASS),
    },
    weight_bits=(8,),
    stored_bits=(4, 8),
    activation_bits=(8,),
    zero_points=False,
    weight_zero_points=False,
    grouped_bits=(4,),
    tables=False,
    int32_bias=False,
    fuses=(
        "a convolution takes in its bias, its activation function and a residual sum",
        "Q/DQ pairs move through pools, reshapes and transposes",
    ),
)
