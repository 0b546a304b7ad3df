"""Low-rank corrections beside layers, known by the names of their matrices wherever a file goes.

    y = W x + B A x

The pass `low_rank` adds them. W is quantized like any other weight; A and B, which are few, stay
float on every target, so that they can make up for what W lost.
"""

from __future__ import annotations

import onnx_ir as ir

DOWN, UP = ".low_rank.down", ".low_rank.up"  # A and B
WHY_FLOAT = "a low-rank correction stays float"


def is_correction(initializer: str | None) -> bool:
    """Whether an initializer of this name is the A or B of a correction."""
    return initializer is not None and initializer.endswith((DOWN, UP))


def corrects(node: ir.Node) -> bool:
    """Whether a node multiplies with the A or B of a correction."""
    return any(v is not None and v.is_initializer() and is_correction(v.name) for v in node.inputs)
