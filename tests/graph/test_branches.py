"""Known conditions: the branch taken becomes part of the graph, and nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from tests.graph.nets import from_text, relative, runtime
from workbench.foundation.errors import ModelError
from workbench.graph import build, fold
from workbench.graph.branches import bind_inputs, inline_known_branches

CHOICE = """
<ir_version: 10, opset_import: ["" : 21]>
net (float[2, 3] x, int64 rate) => (float[2, 3] y, float[2, 3] z)
<int64 fast = {16000}>
{
    chosen = Equal(rate, fast)
    y, z = If (chosen) <
        then_branch = fast_net () => (float[2, 3] out, float[2, 3] kept)
        <float[3] w = {1.0, -2.0, 3.0}> {
            scaled = Mul(x, w)
            deep = Equal(rate, fast)
            out = If (deep) <
                then_branch = inner () => (float[2, 3] r) { r = Relu(scaled) },
                else_branch = outer () => (float[2, 3] r) { r = Neg(scaled) }
            >
            kept = Identity(x)
        },
        else_branch = slow_net () => (float[2, 3] out, float[2, 3] kept)
        <float[3] w = {4.0, 5.0, 6.0}> {
            out = Add(x, w)
            kept = Neg(x)
        }
    >
}
"""
X = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)


@pytest.mark.parametrize("rate", [16000, 8000])
def test_a_bound_input_makes_its_branches_part_of_the_graph(rate):
    model = from_text(CHOICE)
    wanted = runtime(ir.to_proto(model)).run(None, {"x": X, "rate": np.array(rate)})
    folded, _ = fold(bind_inputs(model, {"rate": torch.tensor(rate)}))
    for _ in range(3):
        inline_known_branches(folded)
        folded, _ = fold(folded)
    assert [value.name for value in folded.graph.inputs] == ["x"]
    assert "If" not in {node.op_type for node in folded.graph}
    graph = build(folded)
    assert [spec.name for spec in graph.outputs] == ["y", "z"]
    assert any(name.startswith("w") for name in graph.attribute_of)
    proto = ir.to_proto(folded)
    for ours, again, theirs in zip(
        graph.module(torch.from_numpy(X)), runtime(proto).run(None, {"x": X}), wanted, strict=True
    ):
        assert relative(ours.detach().numpy(), theirs) < 1e-6
        assert relative(again, theirs) < 1e-6


def test_values_that_a_branch_hands_on_keep_their_names():
    model = from_text("""
    <ir_version: 10, opset_import: ["" : 21]>
    net (float[2, 3] x) => (float[2, 3] y, float[2, 3] twice, float[1] w)
    <bool yes = {1}>
    {
        a = Neg(x)
        y, twice, w, b = If (yes) <
            then_branch = t () => (float[2, 3] r, float[2, 3] r, float[1] c, float[1] c)
            <float[1] c = {3.0}> { r = Relu(a) },
            else_branch = e () => (float[2, 3] r, float[2, 3] r, float[1] c, float[1] c)
            <float[1] c = {4.0}> { r = Abs(a) }
        >
        last = Exp(b)
    }
    """)
    found = inline_known_branches(model)
    assert found.count == 1
    assert {value.name for node in model.graph for value in node.outputs} == {
        "a",
        "y",
        "twice",
        "w",
        "last",
    }
    assert list(model.graph.initializers) == ["yes", "c"]
    a = next(node for node in model.graph if node.op_type == "Neg").outputs[0]
    assert len(a.uses()) == 1  # the branch not taken reads it no more
    y, twice, w = runtime(ir.to_proto(model)).run(None, {"x": X})
    assert np.array_equal(y, np.maximum(-X, 0))
    assert np.array_equal(y, twice)
    assert w == 3


def test_names_that_two_graphs_share_are_made_unique():
    model = from_text("""
    <ir_version: 10, opset_import: ["" : 21]>
    net (float[2, 3] x, bool maybe) => (float[2, 3] y, float[2, 3] z)
    <bool yes = {1}>
    {
        y = If (yes) <
            then_branch = t () => (float[2, 3] r) { q = Neg(x) r = Relu(q) },
            else_branch = e () => (float[2, 3] r) { r = Abs(x) }
        >
        z = If (maybe) <
            then_branch = t () => (float[2, 3] r) { q = Neg(x) r = Exp(q) },
            else_branch = e () => (float[2, 3] r) { r = Abs(x) }
        >
    }
    """)
    inline_known_branches(model)
    names = [value.name for node in model.graph.all_nodes() for value in node.outputs]
    assert names.count("q") == 1
    y, z = runtime(ir.to_proto(model)).run(None, {"x": X, "maybe": np.array(True)})
    assert np.array_equal(y, np.maximum(-X, 0))
    assert relative(z, np.exp(-X)) < 1e-6


def test_a_value_that_does_not_fit_is_refused():
    model = from_text(CHOICE)
    with pytest.raises(ModelError, match=r"'rates'.*'rate'"):
        bind_inputs(model, {"rates": torch.tensor(1)})
    with pytest.raises(ModelError, match="shape"):
        bind_inputs(model, {"rate": torch.tensor([1])})
    with pytest.raises(ModelError, match=r"'rate'.*'torch\.float32'"):
        bind_inputs(model, {"rate": torch.tensor(1.0)})
    assert [value.name for value in model.graph.inputs] == ["x", "rate"]
