"""Equalization gives neighbours equal ranges and leaves the function alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.graph.nets import from_text, relative
from tests.graph.passes.helpers import HEADER, fill, kinds, normal, outputs, same, uneven
from workbench.graph import fold
from workbench.graph.passes.equalize import equalize, factors, range_spread, tensor_sqnr
from workbench.graph.passes.linear import linear
from workbench.graph.transforms import transform


def test_two_layers_get_the_geometric_mean_of_their_ranges():
    model = from_text(
        f"{HEADER} g (float[n,3] x) => (float[n,2] y) {{ h = Gemm(x, w1, b1) r = Relu(h) "
        "y = Gemm(r, w2, b2) }"
    )
    w1, w2 = uneven(3, 5, axis=1), uneven(5, 2, axis=0, seed=1)
    fill(model, w1=w1, b1=normal(5), w2=w2, b2=normal(2))
    changed, (record,) = transform(fold(model)[0], ["equalize"])
    assert record.count == 1
    weights = {name: v.const_value.numpy() for name, v in changed.graph.initializers.items()}
    wanted = np.sqrt(np.abs(w1).max(0) * np.abs(w2).max(1))
    assert np.allclose(np.abs(weights["w1"]).max(0), wanted, rtol=1e-6)
    assert np.allclose(np.abs(weights["w2"]).max(1), wanted, rtol=1e-6)
    assert same(model, changed, x=normal(4, 3, seed=5)) < 1e-6


CHAINS = {
    "depthwise": (
        "float[2,3,8,8]",
        (
            "a = Conv(x, w1, b1) r = Relu(a) d = Conv <group = 6, pads = [1, 1, 1, 1]> (r, w2) "
            "s = LeakyRelu(d) y = Conv(s, w3)"
        ),
        {"w1": (6, 3, 1, 1), "w2": (6, 1, 3, 3), "w3": (4, 6, 1, 1)},
        2,
    ),
    "grouped": (
        "float[2,4,5,5]",
        "a = Conv <group = 2> (x, w1, b1) y = Conv <group = 3> (a, w2)",
        {"w1": (6, 2, 3, 3), "w2": (9, 2, 1, 1)},
        1,
    ),
    "transposed": (
        "float[2,4,5,5]",
        (
            "a = ConvTranspose <group = 2> (x, w1, b1) p = MaxPool <kernel_shape = [2, 2]> (a) "
            "y = ConvTranspose <group = 2> (p, w2)"
        ),
        {"w1": (4, 3, 2, 2), "w2": (6, 2, 2, 2)},
        1,
    ),
    "head": (
        "float[2,3,6,6]",
        (
            "a = Conv(x, w1, b1) r = Relu(a) g = GlobalAveragePool(r) f = Flatten(g) "
            "y = Gemm <transB = 1> (f, w2)"
        ),
        {"w1": (6, 3, 3, 3), "w2": (5, 6)},
        1,
    ),
    "flattened map": (
        "float[2,3,4,4]",
        "a = Conv(x, w1, b1) r = Relu(a) f = Flatten(r) y = Gemm(f, w2)",
        {"w1": (6, 3, 3, 3), "w2": (24, 5)},
        1,
    ),
    "slopes": (
        "float[2,3,4,4]",
        "a = Conv(x, w1, b1) r = PRelu(a, slope) y = Conv(r, w2)",
        {"w1": (6, 3, 1, 1), "slope": (6, 1, 1), "w2": (5, 6, 1, 1)},
        1,
    ),
    "tokens": (
        "float[2,7,3]",
        "m = MatMul(x, w1) a = Add(m, b1) r = Relu(a) y = MatMul(r, w2)",
        {"w1": (3, 6), "w2": (6, 4)},
        1,
    ),
    "weight on the left": (
        "float[2,3,7]",
        "a = MatMul(w1, x) r = Relu(a) y = MatMul(w2, r)",
        {"w1": (6, 3), "w2": (4, 6)},
        1,
    ),
}


@pytest.mark.parametrize("case", CHAINS)
def test_the_function_is_unchanged_and_the_ranges_are_closer(case: str):
    kind, body, weights, pairs = CHAINS[case]
    rank = kind.count(",") + 1 - (case in ("head", "flattened map")) * 2
    model = from_text(
        f"{HEADER} g ({kind} x) => (float[{','.join('abcdef'[:rank])}] y) {{ {body} }}"
    )
    arrays = {name: normal(*shape, seed=3) for name, shape in weights.items()}
    arrays["w1"] = uneven(*weights["w1"], axis=1 if case in ("transposed", "tokens") else 0)
    if "b1" in body:
        arrays["b1"] = normal(6)
    folded, _ = fold(fill(model, **arrays))
    changed, (record,) = transform(folded, ["equalize"])
    assert record.count == pairs
    before, after = record.measures["weight range, tensor / channel"]
    assert after < before
    shape = [int(size) for size in kind[6:-1].split(",")]
    assert same(model, changed, x=normal(*shape, seed=7)) < 1e-5


def test_a_clip_gets_a_limit_for_each_channel():
    model = from_text(
        f"{HEADER} g (float[2,3,5,5] x) => (float[2,4,5,5] y) {{ a = Conv(x, w1, b1) "
        "r = Clip(a, low, high) y = Conv(r, w2) }"
    )
    limits = {"low": np.float32(0), "high": np.float32(1)}
    arrays = {name: np.array(value) for name, value in limits.items()}
    fill(
        model,
        w1=uneven(6, 3, 1, 1, axis=0),
        b1=normal(6),
        w2=normal(4, 6, 1, 1),
        **arrays,
    )
    changed, (record,) = transform(fold(model)[0], ["equalize"])
    assert kinds(changed) == ["Conv", "Relu", "Min", "Conv"]
    assert changed.graph.node(2).outputs[0].name == "r"
    assert "1 clips" in record.detail
    assert same(model, changed, x=normal(2, 3, 5, 5, seed=2)) < 1e-6


LEFT = {
    "read twice": ("a = Conv(x, w1) r = Relu(a) z = Conv(r, w2) y = Add(z, r)", "more than once"),
    "gelu": ("a = Conv(x, w1) r = Gelu(a) y = Conv(r, w2)", "Gelu behind it"),
    "shared": ("a = Conv(x, w1) y = Conv(a, w1)", "weight shared"),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_cannot_be_equalized_is_left_with_a_reason(case: str):
    body, reason = LEFT[case]
    model = from_text(f"{HEADER} g (float[1,3,5,5] x) => (float[1,3,5,5] y) {{ {body} }}")
    names = {"w1", "w2"} if "w2" in body else {"w1"}
    fill(model, **{name: uneven(3, 3, 1, 1, axis=0) for name in names})
    folded, _ = fold(model)
    changed, (record,) = transform(folded, ["equalize"])
    assert record.count == 0
    assert reason in record.detail
    x = normal(1, 3, 5, 5)
    assert np.array_equal(outputs(changed, x=x)[0], outputs(folded, x=x)[0])


def test_dead_channels_are_left_alone():
    layer = linear(_gemm(np.diag([2.0, 0.0, 1e-20]).astype(np.float32)))
    s = factors(layer, torch.tensor([0.5, 1.0, 1.0], dtype=torch.float64))
    assert torch.allclose(s[:2], torch.tensor([2.0, 1.0], dtype=torch.float64))
    model = from_text(
        f"{HEADER} g (float[n,3] x) => (float[n,3] y) {{ h = Gemm(x, w1, b1) r = Relu(h) "
        "y = Gemm(r, w2) }"
    )
    w1 = np.diag([2.0, 0.0, 1e-20]).astype(np.float32)
    fill(model, w1=w1, b1=np.ones(3, np.float32), w2=normal(3, 3))
    changed, _ = transform(fold(model)[0], ["equalize"])
    biases = changed.graph.initializers["b1"].const_value.numpy()
    assert np.abs(biases).max() <= 64.0001
    assert same(model, changed, x=normal(4, 3, seed=5)) < 1e-6


def test_measures_see_the_channels():
    even = linear(_gemm(np.eye(4, dtype=np.float32)))
    uneven_ones = linear(_gemm(np.diag([1.0, 1.0, 0.01, 0.01]).astype(np.float32)))
    assert range_spread([even]) == 1.0
    assert range_spread([uneven_ones]) == pytest.approx(10.0)
    assert tensor_sqnr([even]) > tensor_sqnr([uneven_ones]) + 15


def test_nothing_to_equalize_measures_nothing():
    model = from_text(f"{HEADER} g (float[n,4] x) => (float[n,4] y) {{ y = Relu(x) }}")
    record = equalize(model)
    assert (record.count, dict(record.measures)) == (0, {})
    assert relative(outputs(model, x=normal(2, 4))[0], np.maximum(normal(2, 4), 0)) == 0


def _gemm(weight: np.ndarray):
    """The node of a matrix product with these columns."""
    model = from_text(f"{HEADER} g (float[n,a] x) => (float[n,b] y) {{ y = Gemm(x, w) }}")
    return fill(model, w=weight).graph.node(0)
