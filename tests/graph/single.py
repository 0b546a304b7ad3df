"""One node as a model, in ONNX Runtime and in the built graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.graph.nets import relative, runtime
from workbench.graph import build
from workbench.graph.load import _to_ir

FLOAT = TensorProto.FLOAT


def one_node(
    op_type: str,
    inputs: list[np.ndarray | None],
    n_outputs: int = 1,
    constants: tuple[int, ...] = (),
    opset: int = 21,
    domain: str = "",
    unnamed: tuple[int, ...] = (),
    attributes: Mapping[str, object] | None = None,
) -> onnx.ModelProto:
    """A model of one node; the inputs at `constants` are initializers, outputs may be left out."""
    names = ["" if array is None else f"i{k}" for k, array in enumerate(inputs)]
    outputs = ["" if k in unnamed else f"o{k}" for k in range(n_outputs)]
    node = helper.make_node(op_type, names, outputs, name="node", domain=domain)
    for key, value in (attributes or {}).items():
        node.attribute.append(helper.make_attribute(key, value))
    given_arrays = [(n, a) for n, a in zip(names, inputs, strict=True) if a is not None]
    held = {f"i{k}" for k in constants}
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in given_arrays
        if n not in held
    ]
    weights = [numpy_helper.from_array(a, n) for n, a in given_arrays if n in held]
    results = [onnx.ValueInfoProto(name=name) for name in outputs if name]
    graph = helper.make_graph([node], "g", infos, results, weights)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def check(
    op_type: str,
    inputs: list[np.ndarray | None],
    n_outputs: int = 1,
    constants: tuple[int, ...] = (),
    opset: int = 21,
    domain: str = "",
    tolerance: float = 2e-5,
    unnamed: tuple[int, ...] = (),
    attributes: Mapping[str, object] | None = None,
    **options: object,
) -> None:
    """The node gives what ONNX Runtime gives, integers with a tolerance within that many steps."""
    options |= attributes or {}
    model = one_node(op_type, inputs, n_outputs, constants, opset, domain, unnamed, options)
    live = {
        f"i{k}": array for k, array in enumerate(inputs) if array is not None and k not in constants
    }
    wanted = runtime(model).run(None, live)
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    for result in proto.graph.output:
        result.type.tensor_type.elem_type = FLOAT
    graph = build(_to_ir(proto, path_of(op_type)))
    with torch.no_grad():
        got = graph.module(*(torch.from_numpy(array) for array in live.values()))
    for ours, theirs in zip(got, wanted, strict=True):
        assert tuple(ours.shape) == theirs.shape
        assert ours.numpy().dtype == theirs.dtype
        peak = np.abs(theirs.astype(np.float64)).max() if theirs.dtype.kind in "iu" else 1.0
        assert relative(ours.numpy(), theirs) < tolerance / max(peak, 1.0) + 1e-9


def path_of(op_type: str) -> Path:
    return Path(f"{op_type}.onnx")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
