"""What is known before any input is seen is worked out, within reason."""

from __future__ import annotations

import numpy as np

from tests.graph.nets import from_text
from tests.graph.passes.helpers import HEADER, fill, kinds, outputs
from workbench.graph import fold


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


def test_big_results_are_not_stored():
    model = from_text(
        f"{HEADER} g (float[n,1] x) => (float[a,b] y) {{ e = Expand(one, shape) y = Add(x, e) }}"
    )
    fill(model, one=np.ones(1, np.float32), shape=np.array([1024, 1024]))
    folded, _ = fold(model)
    assert [node.op_type for node in folded.graph] == ["Expand", "Add"]


def test_chance_is_never_folded():
    model = from_text(
        f"{HEADER} g (float[n,4] x) => (float[n,4] y) {{ r = RandomNormalLike(c) y = Add(x, r) }}"
    )
    fill(model, c=np.zeros(4, np.float32))
    folded, _ = fold(model)
    assert kinds(folded) == ["RandomNormalLike", "Add"]


def test_a_known_branch_is_taken_and_what_follows_is_folded():
    model = from_text(
        f"{HEADER} g (float[2,3] x) => (float[2,3] y) {{ s = Shape(x) two = Constant "
        "<value_ints = [2]> () first = Constant <value_ints = [0]> () n = Gather(s, first) "
        "same = Equal(n, two) q = Squeeze(same) "
        "y = If (q) <then_branch = a () => (float[2,3] u) { t = Shape(x) z = ConstantOfShape(t) "
        "u = Add(x, z) }, else_branch = b () => (float[2,3] v) { v = Neg(x) }> }"
    )
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    folded, _ = fold(model)
    assert kinds(folded) == ["Add"]
    assert np.array_equal(outputs(folded, x=x)[0], outputs(model, x=x)[0])
