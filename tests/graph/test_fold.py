"""Folding changes the graph and not the function."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from tests.graph.nets import NETS, from_text, relative, run_all, settled
from workbench.graph import build, fold, from_module

HEADER = '<ir_version: 10, opset_import: ["" : 21]>'


def outputs(model: ir.Model, **feeds: np.ndarray) -> list[np.ndarray]:
    """The model's outputs from ONNX Runtime."""
    values = run_all(model, feeds)
    return [values[str(value.name)] for value in model.graph.outputs]


def fill(model: ir.Model, **arrays: np.ndarray) -> ir.Model:
    """`model` with initializers added."""
    for name, array in arrays.items():
        constant = ir.tensor(array, name=name)
        value = next(
            v for node in model.graph for v in node.inputs if v is not None and v.name == name
        )
        value.const_value, value.type, value.shape = constant, ir.TensorType(constant.dtype), None
        value.shape = ir.Shape(array.shape)
        model.graph.register_initializer(value)
    return model


def norm(channels: int) -> dict[str, np.ndarray]:
    """Batch norm parameters that do something."""
    rng = np.random.default_rng(0)
    return {
        "gamma": rng.normal(1, 0.5, channels).astype(np.float32),
        "beta": rng.normal(size=channels).astype(np.float32),
        "mean": rng.normal(size=channels).astype(np.float32),
        "var": rng.uniform(0.5, 2, channels).astype(np.float32),
    }


HOSTS = {
    "conv": ("Conv(x, w)", (6, 2, 3, 3), "group = 2", (2, 4, 7, 7), None),
    "conv bias": ("Conv(x, w, b)", (6, 4, 1, 1), "", (2, 4, 5, 5), (6,)),
    "conv1d": ("Conv(x, w)", (6, 4, 3), "", (2, 4, 9), None),
    "transposed": ("ConvTranspose(x, w, b)", (4, 3, 2, 2), "group = 2", (2, 4, 5, 5), (6,)),
    "gemm": ("Gemm(x, w)", (4, 6), "", (3, 4), None),
    "gemm scaled": ("Gemm(x, w, b)", (6, 4), "transB = 1, alpha = 0.5, beta = 2.0", (3, 4), (6,)),
}


@pytest.mark.parametrize("case", HOSTS)
def test_batch_norm_goes_into_its_host(case: str):
    call, weight, attributes, size, bias = HOSTS[case]
    call = call.replace("(", f"<{attributes}>(", 1) if attributes else call
    rank = ",".join("abcdef"[: len(size)])
    model = from_text(
        f"{HEADER} g (float[{rank}] x) => (float[{rank}] y) {{ h = {call} "
        "n = BatchNormalization <epsilon = 0.001> (h, gamma, beta, mean, var) y = Relu(n) }"
    )
    rng = np.random.default_rng(1)
    arrays = {"w": rng.normal(size=weight).astype(np.float32), **norm(6)}
    if bias:
        arrays["b"] = rng.normal(size=bias).astype(np.float32)
    fill(model, **arrays)
    x = rng.normal(size=size).astype(np.float32)
    folded, records = fold(model)
    assert {r.name: r.count for r in records}["batch norms folded"] == 1
    assert len(folded.graph) == 2
    assert folded.graph.node(0).outputs[0].name == "n"
    assert "w" in folded.graph.initializers
    assert relative(outputs(folded, x=x)[0], outputs(model, x=x)[0]) < 1e-5


def test_statistics_stay_on_the_value():
    model = from_module(settled(NETS["conv"][0]()), (torch.randn(1, 3, 16, 16),))
    folded, _ = fold(model)
    value = next(node.outputs[0] for node in folded.graph if node.name == "stem")
    mean, deviation = value.meta["batch_norm"]
    assert mean.shape == deviation.shape == (8,)


def test_batch_norm_after_a_shared_value_stays():
    model = from_text(
        f"{HEADER} g (float[n,4,h,w] x) => (float[n,6,a,b] y) {{ c = Conv(x, w) "
        "n = BatchNormalization(c, gamma, beta, mean, var) y = Add(c, n) }"
    )
    fill(model, w=np.ones((6, 4, 1, 1), np.float32), **norm(6))
    folded, records = fold(model)
    assert {r.name: r.count for r in records}["batch norms folded"] == 0
    assert len(folded.graph) == 3


def test_shared_weight_is_not_spoilt():
    model = from_text(
        f"{HEADER} g (float[n,4,h,w] x) => (float[n,4,a,b] y, float[n,4,a,b] z) {{ "
        "c = Conv(x, w) y = BatchNormalization(c, gamma, beta, mean, var) z = Conv(x, w) }"
    )
    rng = np.random.default_rng(0)
    fill(model, w=rng.normal(size=(4, 4, 1, 1)).astype(np.float32), **norm(4))
    x = rng.normal(size=(1, 4, 3, 3)).astype(np.float32)
    folded, _ = fold(model)
    for got, wanted in zip(outputs(folded, x=x), outputs(model, x=x), strict=True):
        assert relative(got, wanted) < 1e-5


def test_transposed_weight_keeps_its_name():
    model = from_text(
        f"{HEADER} g (float[n,4] x) => (float[n,3] y) {{ t = Transpose(w) y = MatMul(x, t) }}"
    )
    fill(model, w=np.arange(12, dtype=np.float32).reshape(3, 4))
    folded, _ = fold(model)
    assert [node.op_type for node in folded.graph] == ["MatMul"]
    assert folded.graph.initializers["w"].const_value.shape == (4, 3)


def test_transposed_tied_weight_gets_its_own():
    model = from_text(
        f"{HEADER} g (int64[n] i, float[n,4] x) => (float[n,3] y, float[n,4] z) {{ "
        "t = Transpose(w) y = MatMul(x, t) z = Gather(w, i) }"
    )
    fill(model, w=np.arange(12, dtype=np.float32).reshape(3, 4))
    folded, _ = fold(model)
    assert sorted(folded.graph.initializers) == ["t", "w"]


def test_constants_identities_and_dropout_vanish():
    model = from_text(
        f"{HEADER} g (float[n,4] x) => (float[n,2,2] y) {{ a = Identity(x) "
        "b = Dropout(a) s = Constant <value_ints = [-1, 2]> () "
        "two = Constant <value_ints = [2]> () "
        "shape = Concat <axis = 0> (s, two) d = Reshape(b, shape) y = Identity(d) }"
    )
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    folded, _ = fold(model)
    assert [node.op_type for node in folded.graph] == ["Reshape"]
    assert np.array_equal(outputs(folded, x=x)[0], outputs(model, x=x)[0])
    assert folded.graph.outputs[0].name == "y"


def test_identity_between_input_and_output_stays():
    model = from_text(f"{HEADER} g (float[n] x) => (float[n] y) {{ y = Identity(x) }}")
    folded, _ = fold(model)
    assert [node.op_type for node in folded.graph] == ["Identity"]


def test_quantizers_are_never_folded():
    model = from_text(
        f"{HEADER} g (float[n,4] x) => (float[n,3] y) {{ w = DequantizeLinear(q, s, z) "
        "y = MatMul(x, w) }"
    )
    fill(
        model,
        q=np.ones((4, 3), np.int8),
        s=np.array(0.5, np.float32),
        z=np.array(1, np.int8),
    )
    folded, _ = fold(model)
    assert [node.op_type for node in folded.graph] == ["DequantizeLinear", "MatMul"]


def test_padding_goes_into_the_convolution():
    model = from_text(
        f"{HEADER} g (float[n,3,h,w] x) => (float[n,2,a,b] y) {{ p = Pad(x, pads) "
        "y = Conv <pads = [1, 1, 1, 1]> (p, w) }"
    )
    rng = np.random.default_rng(0)
    fill(
        model,
        w=rng.normal(size=(2, 3, 3, 3)).astype(np.float32),
        pads=np.array([0, 0, 0, 1, 0, 0, 2, 0]),
    )
    x = rng.normal(size=(1, 3, 6, 6)).astype(np.float32)
    folded, _ = fold(model)
    assert [node.op_type for node in folded.graph] == ["Conv"]
    assert relative(outputs(folded, x=x)[0], outputs(model, x=x)[0]) < 1e-6


def test_big_results_are_not_stored():
    model = from_text(
        f"{HEADER} g (float[n,1] x) => (float[a,b] y) {{ e = Expand(one, shape) y = Add(x, e) }}"
    )
    fill(model, one=np.ones(1, np.float32), shape=np.array([1024, 1024]))
    folded, _ = fold(model)
    assert [node.op_type for node in folded.graph] == ["Expand", "Add"]


def test_the_given_model_is_left_alone():
    model = from_module(settled(NETS["conv"][0]()), (torch.randn(1, 3, 16, 16),))
    before = [(node.name, node.op_type) for node in model.graph]
    weight = model.graph.initializers["stem.weight"].const_value.numpy().copy()
    fold(model)
    assert [(node.name, node.op_type) for node in model.graph] == before
    assert np.array_equal(model.graph.initializers["stem.weight"].const_value.numpy(), weight)
    build(model)
