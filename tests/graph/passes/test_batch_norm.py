"""Batch norms go into the layer before or after them, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.graph.nets import NETS, from_text, relative, settled
from tests.graph.passes.helpers import HEADER, counts, fill, kinds, norm, normal, outputs, same
from workbench.graph import fold, from_module

HOSTS = {
    "conv": ("Conv(x, w)", (6, 2, 3, 3), "group = 2", (2, 4, 7, 7), None),
    "conv bias": ("Conv(x, w, b)", (6, 4, 1, 1), "", (2, 4, 5, 5), (6,)),
    "conv1d": ("Conv(x, w)", (6, 4, 3), "", (2, 4, 9), None),
    "conv3d": ("Conv(x, w)", (6, 4, 1, 2, 2), "", (1, 4, 3, 3, 3), None),
    "transposed": ("ConvTranspose(x, w, b)", (4, 3, 2, 2), "group = 2", (2, 4, 5, 5), (6,)),
    "gemm": ("Gemm(x, w)", (4, 6), "", (3, 4), None),
    "gemm scaled": ("Gemm(x, w, b)", (6, 4), "transB = 1, alpha = 0.5, beta = 2.0", (3, 4), (6,)),
    "gemm scalar bias": ("Gemm(x, w, b)", (4, 6), "", (3, 4), (1,)),
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
    assert counts(records)["batch norms folded"] == 1
    assert len(folded.graph) == 2
    assert folded.graph.node(0).outputs[0].name == "n"
    assert "w" in folded.graph.initializers
    assert relative(outputs(folded, x=x)[0], outputs(model, x=x)[0]) < 1e-5


def test_matrix_product_with_its_bias_and_a_transpose_between():
    model = from_text(
        f"{HEADER} g (float[2,5,4] x) => (float[2,6,5] y) {{ m = MatMul(x, w) h = Add(m, b) "
        "t = Transpose <perm = [0, 2, 1]> (h) n = BatchNormalization(t, gamma, beta, mean, var) "
        "y = Relu(n) }"
    )
    fill(model, w=normal(4, 6), b=normal(6, seed=1), **norm(6))
    folded, _ = fold(model)
    assert kinds(folded) == ["MatMul", "Add", "Transpose", "Relu"]
    assert folded.graph.node(2).outputs[0].name == "n"
    assert same(model, folded, x=normal(2, 5, 4, seed=2)) < 1e-5


def test_matrix_product_without_bias_gets_an_add():
    model = from_text(
        f"{HEADER} g (float[n,4] x) => (float[n,6] y) {{ h = MatMul(x, w) "
        "n = BatchNormalization(h, gamma, beta, mean, var) y = Relu(n) }"
    )
    fill(model, w=normal(4, 6), **norm(6))
    folded, _ = fold(model)
    assert kinds(folded) == ["MatMul", "Add", "Relu"]
    assert folded.graph.node(1).outputs[0].name == "n"
    assert same(model, folded, x=normal(3, 4, seed=2)) < 1e-5


def test_two_norms_in_a_row_both_go():
    model = from_text(
        f"{HEADER} g (float[1,4,5,5] x) => (float[1,6,3,3] y) {{ h = Conv(x, w) "
        "n = BatchNormalization(h, gamma, beta, mean, var) "
        "y = BatchNormalization(n, gamma2, beta2, mean2, var2) }"
    )
    second = {f"{name}2": value[::-1].copy() for name, value in norm(6).items()}
    fill(model, w=normal(6, 4, 3, 3), **norm(6), **second)
    folded, _ = fold(model)
    assert kinds(folded) == ["Conv"]
    assert same(model, folded, x=normal(1, 4, 5, 5, seed=2)) < 1e-5


AFTER = {
    "conv": ("Conv <strides = [2, 2], group = 2> (n, w)", (6, 2, 3, 3), (2, 4, 7, 7)),
    "pointwise transposed": ("ConvTranspose <group = 2> (n, w)", (4, 3, 1, 1), (2, 4, 5, 5)),
    "gemm": ("Gemm <transB = 1, alpha = 0.5> (n, w)", (6, 4), (3, 4)),
    "matmul": ("MatMul(n, w)", (4, 6), (3, 4)),
}


@pytest.mark.parametrize("case", AFTER)
def test_batch_norm_goes_into_the_layer_behind(case: str):
    call, weight, size = AFTER[case]
    rank = ",".join("abcdef"[: len(size)])
    model = from_text(
        f"{HEADER} g (float[{rank}] x) => (float[{rank}] y) {{ r = Relu(x) "
        f"n = BatchNormalization(r, gamma, beta, mean, var) y = {call} }}"
    )
    fill(model, w=normal(*weight), **norm(4))
    folded, records = fold(model)
    assert counts(records)["leading batch norms folded"] == 1
    assert "BatchNormalization" not in kinds(folded)
    assert folded.graph.outputs[0].name == "y"
    assert same(model, folded, x=normal(*size, seed=3)) < 1e-5


def test_a_flattened_map_carries_its_norm_along():
    model = from_text(
        f"{HEADER} g (float[n,4,3,2] x) => (float[n,5] y) {{ r = Relu(x) "
        "n = BatchNormalization(r, gamma, beta, mean, var) f = Flatten(n) y = Gemm(f, w, b) }"
    )
    fill(model, w=normal(24, 5), b=normal(5), **norm(4))
    folded, _ = fold(model)
    assert kinds(folded) == ["Relu", "Flatten", "Gemm"]
    assert same(model, folded, x=normal(2, 4, 3, 2, seed=3)) < 1e-5


def test_padding_keeps_the_norm_before_a_convolution():
    model = from_text(
        f"{HEADER} g (float[1,4,5,5] x) => (float[1,6,5,5] y) {{ r = Relu(x) "
        "n = BatchNormalization(r, gamma, beta, mean, var) "
        "y = Conv <pads = [1, 1, 1, 1]> (n, w) }"
    )
    fill(model, w=normal(6, 4, 3, 3), **norm(4))
    folded, records = fold(model)
    assert "BatchNormalization" in kinds(folded)
    left = next(record for record in records if record.name == "leading batch norms folded")
    assert left.count == 0
    assert "padded" in left.detail


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
    assert counts(records)["batch norms folded"] == 0
    assert len(folded.graph) == 3


def test_shared_weight_is_not_spoilt():
    model = from_text(
        f"{HEADER} g (float[n,4,h,w] x) => (float[n,4,a,b] y, float[n,4,a,b] z) {{ "
        "c = Conv(x, w) y = BatchNormalization(c, gamma, beta, mean, var) z = Conv(x, w) }"
    )
    fill(model, w=normal(4, 4, 1, 1), **norm(4))
    x = normal(1, 4, 3, 3, seed=1)
    folded, _ = fold(model)
    assert same(model, folded, x=x) < 1e-5
