"""Integer accelerators: every float tensor of the graph is quantized, in 8 or 16 bits.

What an NPU's compiler wants to see: each operator reads and writes integers, functions such as
Softmax and LayerNormalization included; operators that pick or move values keep one scale, and so
do the inputs and the output of a Concat. Weights are symmetric, biases int32. Constant operands are
left to the compiler.
"""

from __future__ import annotations

from workbench.graph.sites import WEIGHT_INPUTS
from workbench.graph.targets.base import Target
from workbench.graph.targets.rules import MOVERS, Rule

_EVERY = Rule(inputs=None, starts=True)
_FIRST = Rule(starts=True)
_MOVE = Rule(starts=True, shares=True)
#: they give shapes, choose indices or make numbers up
NEVER = frozenset(
    {
        "Cast",
        "Constant",
        "ConstantOfShape",
        "NonZero",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Range",
        "Shape",
        "Size",
    }
)

NPU_INT = Target(
    name="npu-int",
    title="Integer accelerator (NPU)",
    runtime="an integer accelerator",
    weight_ops=frozenset(WEIGHT_INPUTS),
    rules={
        "Concat": Rule(inputs=None, starts=True, shares=True),
        "MaxPool": _MOVE,
        "AveragePool": _MOVE,
        "GlobalAveragePool": _MOVE,
        "GlobalMaxPool": _MOVE,
        "DepthToSpace": _MOVE,
        "Resize": _MOVE,
        **dict.fromkeys(MOVERS, _MOVE),
        **dict.fromkeys(("GRU", "LSTM", "RNN"), _FIRST),
    },
    other=_EVERY,
    never=NEVER,
    weight_bits=(4, 8),
    stored_bits=(4, 8),
    activation_bits=(8, 16),
    weight_zero_points=False,
    granularities=("tensor", "channel"),
    tables=False,
    constants=True,
    fuses=("Relu and Clip go into the operator in front of them",),
)
