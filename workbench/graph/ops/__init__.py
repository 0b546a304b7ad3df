"""Operator meanings, one file per family; importing this package fills the table."""

from __future__ import annotations

from workbench.graph.ops import (
    activation,
    attention,
    convolution,
    elementwise,
    generator,
    indexing,
    linear,
    logic,
    normalization,
    pooling,
    quantize,
    recurrent,
    reduction,
    resize,
    shape,
)
from workbench.graph.ops.registry import Meaning, known, lookup, op

__all__ = [
    "Meaning",
    "activation",
    "attention",
    "convolution",
    "elementwise",
    "generator",
    "indexing",
    "known",
    "linear",
    "logic",
    "lookup",
    "normalization",
    "op",
    "pooling",
    "quantize",
    "recurrent",
    "reduction",
    "resize",
    "shape",
]
