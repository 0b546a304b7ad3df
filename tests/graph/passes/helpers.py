"""Models in text with constants filled in, and their outputs in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tests.graph.nets import relative, run_all
from workbench.graph import FoldRecord

HEADER = '<ir_version: 10, opset_import: ["" : 21]>'


def outputs(model: ir.Model, **feeds: np.ndarray) -> list[np.ndarray]:
    """The model's outputs from ONNX Runtime."""
    values = run_all(model, feeds)
    return [values[str(value.name)] for value in model.graph.outputs]


def same(a: ir.Model, b: ir.Model, **feeds: np.ndarray) -> float:
    """Largest relative difference between the outputs of two models."""
    pairs = zip(outputs(a, **feeds), outputs(b, **feeds), strict=True)
    return max(relative(got, wanted) for wanted, got in pairs)


def fill(model: ir.Model, **arrays: np.ndarray) -> ir.Model:
    """`model` with initializers added."""
    for name, array in arrays.items():
        constant = ir.tensor(array, name=name)
        value = next(
            v for node in model.graph for v in node.inputs if v is not None and v.name == name
        )
        value.const_value, value.type = constant, ir.TensorType(constant.dtype)
        value.shape = ir.Shape(array.shape)
        model.graph.register_initializer(value)
    return model


def norm(channels: int, prefix: str = "") -> dict[str, np.ndarray]:
    """Batch norm parameters that do something."""
    rng = np.random.default_rng(0)
    values = {
        "gamma": rng.normal(1, 0.5, channels).astype(np.float32),
        "beta": rng.normal(size=channels).astype(np.float32),
        "mean": rng.normal(size=channels).astype(np.float32),
        "var": rng.uniform(0.5, 2, channels).astype(np.float32),
    }
    return {prefix + name: value for name, value in values.items()}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers, float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def uneven(*shape: int, axis: int, seed: int = 0) -> np.ndarray:
    """Weights whose channels on `axis` differ in range by up to a factor of 30."""
    sizes = [1] * len(shape)
    sizes[axis] = shape[axis]
    factors = np.geomspace(0.2, 6.0, shape[axis])
    np.random.default_rng(seed).shuffle(factors)
    return normal(*shape, seed=seed) * factors.reshape(sizes).astype(np.float32)


def counts(records: list[FoldRecord]) -> dict[str, int]:
    """How much each pass did."""
    return {record.name: record.count for record in records}


def kinds(model: ir.Model) -> list[str]:
    """The operators in order."""
    return [node.op_type for node in model.graph]
