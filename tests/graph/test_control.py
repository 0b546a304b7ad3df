"""Subgraphs: If, Loop and Scan against ONNX Runtime, and what becomes of their weights."""

from __future__ import annotations

import copy
import io
import pickle  # noqa: TID251 - jobs hand graphs to their own workers
import sys

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from tests.graph.nets import from_text, relative, runtime
from workbench.foundation.errors import ModelError
from workbench.graph import build

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def agrees(model: ir.Model, *inputs: np.ndarray) -> None:
    """The built module gives what ONNX Runtime gives."""
    graph = build(model)
    feeds = {spec.name: x for spec, x in zip(graph.inputs, inputs, strict=True)}
    wanted = runtime(ir.to_proto(model)).run(None, feeds)
    with torch.no_grad():
        got = graph.module(*(torch.from_numpy(x) for x in inputs))
    for ours, theirs in zip(got, wanted, strict=True):
        assert tuple(ours.shape) == theirs.shape
        assert relative(ours.numpy(), theirs) < 1e-6


NESTED = """
<ir_version: 10, opset_import: ["" : 21]>
net (float[4, 3] x, bool a, bool b) => (float[4, 3] y)
<float[3] outer = {1.0, 2.0, 3.0}>
{
    scaled = Mul(x, outer)
    y = If (a) <
        then_branch = one () => (float[4, 3] r) <float[3] w = {4.0, 5.0, 6.0}> {
            moved = Add(scaled, w)
            r = If (b) <
                then_branch = two () => (float[4, 3] s) { s = Sub(moved, outer) },
                else_branch = three () => (float[4, 3] s) <float[3] v = {7.0, 8.0, 9.0}> {
                    t = Mul(moved, v)
                    s = Div(t, w)
                }
            >
        },
        else_branch = four () => (float[4, 3] r) { r = Neg(scaled) }
    >
}
"""


@pytest.mark.parametrize("a", [False, True])
@pytest.mark.parametrize("b", [False, True])
def test_nested_branches(a, b):
    agrees(from_text(NESTED), X, np.array(a), np.array(b))


def test_weights_of_branches_are_parameters_under_their_names():
    graph = build(from_text(NESTED))
    assert set(graph.attribute_of) == {"outer", "w", "v"}
    for name, first in {"outer": 1, "w": 4, "v": 7}.items():
        assert graph.module.get_parameter(graph.attribute_of[name])[0] == first
    y = graph.module(torch.from_numpy(X), torch.tensor(True), torch.tensor(False))[0]
    y.sum().backward()
    for name in graph.attribute_of:
        gradient = graph.module.get_parameter(graph.attribute_of[name]).grad
        assert gradient is not None
        assert gradient.abs().sum() > 0


def loop(count: str, condition: str) -> ir.Model:
    return from_text(f"""
    <ir_version: 10, opset_import: ["" : 21]>
    net (float[4, 3] x, int64 m, bool c) => (float[4, 3] last, float[N, 4, 3] rows)
    <float limit = {{20.0}}, float[3] w = {{1.0, 2.0, 3.0}}>
    {{
        last, rows = Loop ({count}, {condition}, x) <
            body = step (int64 i, bool go, float[4, 3] h) =>
                (bool more, float[4, 3] next, float[4, 3] row)
            {{
                f = Cast <to = 1> (i)
                g = Add(f, w)
                next = Add(h, g)
                row = Mul(next, w)
                top = ReduceMax <keepdims = 0> (next)
                more = Less(top, limit)
            }}
        >
    }}
    """)


@pytest.mark.parametrize("m", [0, -2, 1, 5, 100])
@pytest.mark.parametrize("c", [False, True])
def test_loop(m, c):
    agrees(loop("m", "c"), X, np.array(m), np.array(c))


def test_loop_without_count_or_condition():
    agrees(loop("m", ""), X, np.array(3), np.array(True))
    agrees(loop("", "c"), X, np.array(3), np.array(True))


@pytest.mark.parametrize("directions", [(0, 0), (1, 0), (0, 1)])
@pytest.mark.parametrize("axes", [(0, 0), (1, 1), (1, -1)])
def test_scan(directions, axes):
    shape, row = ("4, 3", "3") if axes[0] == 0 else ("3, 4", "3")
    model = from_text(f"""
    <ir_version: 10, opset_import: ["" : 21]>
    net (float[3] h, float[{shape}] x) => (float[3] last, float[A, B] rows)
    {{
        last, rows = Scan <num_scan_inputs = 1, scan_input_axes = [{axes[0]}],
            scan_input_directions = [{directions[0]}], scan_output_axes = [{axes[1]}],
            scan_output_directions = [{directions[1]}],
            body = step (float[3] s, float[{row}] r) => (float[3] t, float[3] u)
            {{ t = Add(s, r) u = Mul(t, r) }}
        > (h, x)
    }}
    """)
    x = X if axes[0] == 0 else np.ascontiguousarray(X.T)
    agrees(model, X[0], x)


def test_a_loop_that_never_runs_gives_empty_rows():
    graph = build(loop("m", "c"))
    last, rows = graph.module(torch.from_numpy(X), torch.tensor(0), torch.tensor(True))
    assert torch.equal(last, torch.from_numpy(X))
    assert rows.shape == (0, 4, 3)
    assert rows.dtype == torch.float32


def test_functions_are_inlined_with_their_subgraphs_and_attributes(tmp_path):
    from workbench.graph import load

    model = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 21, "own" : 1]>
    net (float[4, 3] x, bool c) => (float[4, 3] y) { y = own.outer <slope = 0.3> (x, c) }
    <domain: "own", opset_import: ["" : 21, "own" : 1]>
    outer <slope> (a, flag) => (r)
    {
        r = If (flag) <
            then_branch = t () => (u) { u = own.inner <alpha : float = @slope> (a) },
            else_branch = e () => (u) { u = Neg(a) }
        >
    }
    <domain: "own", opset_import: ["" : 21]>
    inner <alpha> (a) => (r) { b = LeakyRelu <alpha : float = @alpha> (a) r = Add(b, a) }
    """)
    path = tmp_path / "functions.onnx"
    onnx.save(model, path)
    agreed = load(path)
    for c in (True, False):
        wanted = runtime(model).run(None, {"x": X, "c": np.array(c)})[0]
        got = build(agreed).module(torch.from_numpy(X), torch.tensor(c))[0]
        assert relative(got.detach().numpy(), wanted) < 1e-6


def deep(depth: int) -> ir.Model:
    inner = "r = Neg(x)"
    for i in range(depth):
        inner = f"""r = If (c) <then_branch = t{i} () => (float[4, 3] r) {{ {inner} }},
                    else_branch = e{i} () => (float[4, 3] r) {{ r = Abs(x) }}>"""
    return from_text(f"""<ir_version: 10, opset_import: ["" : 21]>
        net (float[4, 3] x, bool c) => (float[4, 3] r) {{ {inner} }}""")


def test_depth_has_a_limit(monkeypatch):
    build(deep(20))
    monkeypatch.setattr(sys.modules[build.__module__], "MAX_DEPTH", 19)
    with pytest.raises(ModelError, match=r"more than '19' deep"):
        build(deep(20))


def test_built_modules_can_be_pickled():
    graph = build(from_text(NESTED))
    twin = pickle.loads(pickle.dumps(graph)).module
    inputs = torch.from_numpy(X), torch.tensor(True), torch.tensor(False)
    assert torch.equal(twin(*inputs)[0], graph.module(*inputs)[0])
    assert [n.meta for n in twin.graph.nodes] == [n.meta for n in graph.module.graph.nodes]
    assert not twin.training


def test_built_modules_can_be_copied():
    graph = build(from_text(NESTED))
    inputs = torch.from_numpy(X), torch.tensor(True), torch.tensor(False)
    twin = copy.deepcopy(graph.module)
    path = graph.attribute_of["v"]
    with torch.no_grad():
        twin.get_parameter(path).add_(1)
        assert not torch.equal(twin(*inputs)[0], graph.module(*inputs)[0])
        stored = io.BytesIO()
        torch.save(graph.module.state_dict(), stored)
        stored.seek(0)
        twin.load_state_dict(torch.load(stored, weights_only=True))
        assert torch.equal(twin(*inputs)[0], graph.module(*inputs)[0])
    names = [node.meta.get("onnx_value") for node in twin.graph.nodes]
    assert names == [node.meta.get("onnx_value") for node in graph.module.graph.nodes]
