"""Equivalent scaling finds where a factor can go, and never changes the function."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
import torch

from tests.graph.nets import from_text
from tests.graph.passes.helpers import HEADER, fill, kinds, normal, same
from workbench.foundation.errors import ModelError
from workbench.graph import fold
from workbench.graph.passes.scaling import groups, scale

C = 6


def model_of(body: str, arrays: dict[str, np.ndarray], x: str = "float[2,5,6]") -> ir.Model:
    """A folded model with one input and one output."""
    text = f"{HEADER} g ({x} x) => (float y) {{ {body} }}"
    model = fill(from_text(text), **arrays)
    model.graph.outputs[0].shape = None
    return fold(model)[0]


def constants(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: normal(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}


def scaled(model: ir.Model, x: np.ndarray) -> tuple[dict[str, tuple[str, ...]], float]:
    """Where each group's factor goes, and what random factors change in ONNX Runtime."""
    found = groups(model.graph)
    changed = model.clone()
    rng = np.random.default_rng(3)
    factors = {
        group.name: torch.from_numpy(np.exp(rng.normal(size=group.channels))).float()
        for group in found
        if group.folds
    }
    record = scale(changed, factors, "scaled")
    assert record.count == len(factors)
    return {group.name: group.before for group in found}, same(model, changed, x=x)


def test_a_norm_takes_the_factor_of_all_its_readers():
    model = model_of(
        "n = LayerNormalization <axis = -1> (x, g, o) a = MatMul(n, w1) b = MatMul(n, w2) "
        "y = Add(a, b)",
        constants(g=(C,), o=(C,), w1=(C, 4), w2=(C, 4)),
    )
    (group,) = groups(model.graph)
    assert [part.name for part in group.parts] == ["w1", "w2", "g", "o"]
    before, difference = scaled(model, normal(2, 5, C, seed=9))
    assert before == {"n": (str(model.graph.node(0).name),)}
    assert 0 < difference < 1e-5


def test_a_norm_written_out_takes_it_in_its_gain_and_offset():
    model = model_of(
        "q = Mul(x, x) v = ReduceMean <keepdims = 1> (q, last) r = Sqrt(v) d = Div(x, r) "
        "g = Mul(d, gain) n = Add(g, offset) y = MatMul(n, w)",
        {**constants(gain=(C,), offset=(C,), w=(C, 4)), "last": np.array([-1])},
    )
    (group,) = groups(model.graph)
    assert [part.name for part in group.parts] == ["w", "offset", "gain"]
    _, difference = scaled(model, normal(2, 5, C, seed=9))
    assert difference < 1e-5


def test_values_of_attention_keep_their_channels_apart():
    heads, back = np.array([2, 5, 3, 2]), np.array([2, 5, 6])
    model = model_of(
        "q = MatMul(x, wq) k = Transpose <perm = [0, 2, 1]> (x) l = MatMul(q, k) "
        "p = Softmax <axis = -1> (l) p4 = Unsqueeze(p, one) u = MatMul(x, wv) v = Add(u, bv) "
        "r = Reshape(v, heads) t = Transpose <perm = [0, 2, 1, 3]> (r) m = MatMul(p4, t) "
        "o = Transpose <perm = [0, 2, 1, 3]> (m) f = Reshape(o, back) y = MatMul(f, wo)",
        {
            **constants(wq=(C, C), wv=(C, C), bv=(C,), wo=(C, 4)),
            "heads": heads, "back": back, "one": np.array([1]),
        },
    )  # fmt: skip
    found = {group.name: group for group in groups(model.graph)}
    assert [part.name for part in found["f"].parts] == ["wo", "wv", "bv"]
    before, difference = scaled(model, normal(2, 5, C, seed=9))
    assert before["x"] == ()
    assert 0 < difference < 1e-5


def test_the_linear_factor_of_a_gate_takes_it():
    model = model_of(
        "g = MatMul(x, w1) s = Sigmoid(g) u = MatMul(x, w2) h = Mul(s, u) y = MatMul(h, w3)",
        constants(w1=(C, 8), w2=(C, 8), w3=(8, 4)),
    )
    found = {group.name: group for group in groups(model.graph)}
    assert [part.name for part in found["h"].parts] == ["w3", "w2"]
    _, difference = scaled(model, normal(2, 5, C, seed=9))
    assert 0 < difference < 1e-5


def test_convolutions_pass_it_through_relu_and_pools():
    model = model_of(
        "a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r = Relu(a) "
        "m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r) "
        "d = Conv <group = 4, pads = [1, 1, 1, 1]> (m, w2, b2) "
        "z = Relu(d) p = ReduceMean <keepdims = 0> (z, axes) y = Gemm(p, w3, b3)",
        {
            **constants(w1=(4, 3, 3, 3), b1=(4,), w2=(8, 1, 3, 3), b2=(8,), w3=(8, 5), b3=(5,)),
            "axes": np.array([2, 3]),
        },
        "float[2,3,8,8]",
    )
    found = {group.name: group for group in groups(model.graph)}
    assert [part.name for part in found["m"].parts] == ["w2", "w1", "b1"]
    assert [part.name for part in found["p"].parts] == ["w3", "w2", "b2"]
    _, difference = scaled(model, normal(2, 3, 8, 8, seed=9))
    assert 0 < difference < 1e-5


def test_constants_that_others_read_are_left_to_them():
    model = model_of(
        "n = LayerNormalization <axis = -1> (x, g, o) a = MatMul(n, w1) "
        "m = LayerNormalization <axis = -1> (x, g, o) b = MatMul(m, w2) y = Add(a, b)",
        constants(g=(C,), o=(C,), w1=(C, 4), w2=(C, 4)),
    )
    assert all(part.shared for part in groups(model.graph)[0].parts if part.name in "go")
    _, difference = scaled(model, normal(2, 5, C, seed=9))
    assert 0 < difference < 1e-5


BLOCKED = {
    "read by a sum too": (
        "n = LayerNormalization <axis = -1> (x, g, o) a = MatMul(n, w1) y = Add(n, a)",
        constants(g=(C,), o=(C,), w1=(C, C)),
    ),
    "a curved function": (
        "a = MatMul(x, w1) n = Gelu(a) y = MatMul(n, w2)",
        constants(w1=(C, C), w2=(C, C)),
    ),
    "an offset that is computed": (
        "a = MatMul(x, w1) n = Add(a, x) y = MatMul(n, w2)",
        constants(w1=(C, C), w2=(C, C)),
    ),
    "a reciprocal": (
        "a = MatMul(x, w1) n = Div(g, a) y = MatMul(n, w2)",
        constants(w1=(C, C), w2=(C, C), g=(C,)),
    ),
    "a softmax": (
        "a = MatMul(x, w1) n = Softmax <axis = -1> (a) y = MatMul(n, w2)",
        constants(w1=(C, C), w2=(C, C)),
    ),
}


@pytest.mark.parametrize("case", BLOCKED)
def test_where_nothing_takes_it_a_multiplication_goes_in_front_of_the_readers(case: str):
    body, arrays = BLOCKED[case]
    model = model_of(body, arrays)
    group = next(group for group in groups(model.graph) if group.name == "n")
    assert not group.folds
    changed = model.clone()
    factors = torch.linspace(0.5, 4.0, C)
    record = scale(changed, {"n": factors}, "scaled")
    assert "1 multiplications put in" in record.detail
    assert kinds(changed).count("Mul") == 1
    assert same(model, changed, x=normal(2, 5, C, seed=9)) < 1e-5


def test_a_shared_weight_heads_no_group():
    refused: Counter[str] = Counter()
    model = model_of("a = MatMul(x, w) r = Relu(a) y = MatMul(r, w)", constants(w=(C, C)))
    assert groups(model.graph, refused) == []
    assert refused == {"weight shared": 2}


def test_factors_of_another_model_are_refused():
    model = model_of("y = MatMul(x, w)", constants(w=(C, C)))
    with pytest.raises(ModelError, match="no layers can be scaled behind 'h'; measure on this"):
        scale(model, {"h": torch.ones(C)}, "scaled")
    with pytest.raises(ModelError, match="behind 'x'"):
        scale(model, {"x": torch.ones(C + 1)}, "scaled")
