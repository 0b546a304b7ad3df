"""Rotation: the same function in another basis, and in which networks there is one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from tests.graph.nets import from_text, run_all
from tests.graph.passes.helpers import HEADER, fill, kinds, normal, same
from workbench.deploy.export import export
from workbench.deploy.runtime import open_session, run
from workbench.graph import build, fold
from workbench.graph.passes.heads import heads_of
from workbench.graph.passes.residual import streams
from workbench.graph.passes.rms import norms_of
from workbench.graph.passes.rotate import RotateOptions, rotate
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.graph.transforms import transform
from workbench.methods.base import Task
from workbench.methods.registry import make

WIDTH = 16
LAYER_NORM = "{y} = LayerNormalization<axis = -1>({x}, {y}_g, {y}_b)"
#: x / sqrt(mean x² + ε) · γ, as two exporters write it
QUOTIENT = (
    "{y}_2 = Mul({x}, {x}) {y}_m = ReduceMean({y}_2, last) {y}_e = Add({y}_m, epsilon) "
    "{y}_r = Sqrt({y}_e) {y}_n = Div({x}, {y}_r) {y} = Mul({y}_n, {y}_g)"
)
PRODUCT = (
    "{y}_2 = Pow({x}, two) {y}_m = ReduceMean({y}_2, last) {y}_e = Add({y}_m, epsilon) "
    "{y}_s = Sqrt({y}_e) {y}_r = Reciprocal({y}_s) {y}_n = Mul({x}, {y}_r) {y} = Mul({y}_g, {y}_n)"
)
NORMS = {"layer": LAYER_NORM, "quotient": QUOTIENT, "product": PRODUCT}

ATTENTION = (
    "q0 = MatMul(a, wq) q1 = Reshape(q0, split) q = Transpose<perm = [0, 2, 1, 3]>(q1) "
    "k0 = MatMul(a, wk) k1 = Reshape(k0, split) k = Transpose<perm = [0, 2, 3, 1]>(k1) "
    "v0 = MatMul(a, wv) v2 = Add(v0, bv) v1 = Reshape(v2, split) "
    "v = Transpose<perm = [0, 2, 1, 3]>(v1) s = MatMul(q, k) p = Softmax<axis = -1>(s) "
    "o = MatMul(p, v) o1 = Transpose<perm = [0, 2, 1, 3]>(o) o2 = Reshape(o1, join) "
    "o3 = MatMul(o2, wo) o4 = Add(o3, bo) "
)
MLP = "e = MatMul(m, we) e1 = Add(e, be) f = Gelu(e1) d = MatMul(f, wd) d1 = Add(d, bd) "


def network(norm: str = "layer", tail: str = "", head: str = "pool") -> ir.Model:
    """An embedding with positions, attention, a block of two layers, a norm, a mean, a head."""

    def normed(y: str, x: str) -> str:
        return NORMS[norm].format(x=x, y=y) + " "

    text = (
        f"{HEADER} g (int64[n, 6] x) => (float[n, 5] y) {{ t = Gather(table, x) h0 = Add(t, pos) "
        f"{normed('a', 'h0')} {ATTENTION} h1 = Add(h0, o4) {normed('m', 'h1')} {MLP} "
        f"h2 = Add(h1, d1) {normed('z', 'h2')} {tail} pool = ReduceMean<keepdims = 0>(z, tokens) "
        f"y = Gemm<transB = 1>({head}, wh, bh) }}"
    )
    return _named(text, _constants(norm))


def _named(text: str, constants: dict[str, np.ndarray]) -> ir.Model:
    model = fill(from_text(text), **constants)
    for node in model.graph:
        node.name = node.outputs[0].name
    return fold(model)[0]


def _constants(norm: str) -> dict[str, np.ndarray]:
    square = {name: normal(WIDTH, WIDTH, seed=i) / 4 for i, name in enumerate("qkvo")}
    held = {f"w{name}": value for name, value in square.items()}
    held |= {"table": normal(9, WIDTH), "pos": normal(6, WIDTH, seed=1), "bv": normal(WIDTH)}
    held |= {"bo": normal(WIDTH, seed=2), "we": normal(WIDTH, 24) / 4, "be": normal(24)}
    held |= {"wd": normal(24, WIDTH) / 4, "bd": normal(WIDTH, seed=3)}
    held |= {"wh": normal(5, WIDTH), "bh": normal(5), "tokens": np.array([1])}
    held |= {"split": np.array([0, 0, 4, 4]), "join": np.array([0, 0, WIDTH])}
    for index, y in enumerate("amz"):
        held[f"{y}_g"] = 1 + normal(WIDTH, seed=10 + index) / 2
        held |= {f"{y}_b": normal(WIDTH, seed=20 + index)} if norm == "layer" else {}
    if norm != "layer":
        held |= {"last": np.array([-1]), "epsilon": np.array(1e-5, np.float32)}
    return held | ({"two": np.array(2.0, np.float32)} if norm == "product" else {})


def tokens(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 9, (count, 6))


def rotated(model: ir.Model, **options: object) -> tuple[ir.Model, str, int]:
    changed = model.clone()
    record = rotate(changed, RotateOptions.parse(options, "rotate"))
    return changed, record.detail, record.count


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "options", [{}, {"online": True}, {"basis": "orthogonal", "seed": 4}, {"stream": False}]
)
def test_the_float_output_stays(norm: str, options: dict) -> None:
    model = network(norm)
    changed, detail, count = rotated(model, **options)
    assert count == 1 + options.get("stream", True) + options.get("online", False), detail
    assert "stream left" not in detail
    assert same(model, changed, x=tokens()) < 1e-5


def test_layer_norms_become_root_mean_squares_with_nothing_to_learn() -> None:
    changed, *_ = rotated(network())
    assert "LayerNormalization" not in kinds(changed)
    found = norms_of(changed.graph)
    assert [norm.source.name for norm in found] == ["h0", "h1", "h2"]
    assert not any(norm.centres or norm.gain is not None for norm in found)
    values = run_all(changed, {"x": tokens()})
    assert np.allclose((values["a"] ** 2).mean(-1), 1, atol=1e-3)


def test_everything_that_touches_the_stream_is_found() -> None:
    (stream,), refused = streams(network().graph)
    assert not refused
    assert stream.width == WIDTH
    assert [len(readers) for _, readers in stream.norms].count(3) == 1
    assert {layer.output.name for layer in stream.writers} == {"o4", "d1"}
    assert {(node.op_type, index) for node, index in stream.constants} == {
        ("Add", 1),
        ("Gather", 0),
    }


def test_a_channel_that_stands_out_is_spread() -> None:
    model = network("quotient")
    table = model.graph.initializers["table"]
    values = normal(9, WIDTH)
    values[:, 5] = 100.0
    table.const_value = ir.tensor(values, name="table")
    changed, *_ = rotated(model)
    peaks = []
    for version in (model, changed):
        h = run_all(version, {"x": tokens()})["h0"]
        peaks.append(np.abs(h).max() / np.sqrt((h**2).mean()))
    assert peaks[0] == pytest.approx(np.sqrt(WIDTH), rel=0.1)
    assert peaks[1] < 0.4 * peaks[0]


def test_a_seed_repeats_and_another_differs() -> None:
    model = network()
    first, again, other = (rotated(model, seed=seed)[0] for seed in (1, 1, 2))
    weights = [
        version.graph.initializers["we"].const_value.numpy() for version in (first, again, other)
    ]
    assert np.array_equal(weights[0], weights[1])
    assert not np.allclose(weights[0], weights[2])
    assert same(first, other, x=tokens()) < 1e-5


REFUSED = {
    "an output of the stream": ("w = MatMul(h2, wx) ", "reads the stream without a normalization"),
    "another function of it": ("w = Relu(h2) ", r"\(Relu\) reads the stream"),
    "a normalized value elsewhere": ("w = Tanh(z) ", r"\(Tanh\) reads a normalized value"),
    "post-norm": ("w = Add(z, d1) ", r"adds to a normalized value \(post-norm\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_ties_the_stream_down_is_named(case: str) -> None:
    tail, reason = REFUSED[case]
    extra = {"wx": normal(WIDTH, 5)} if "wx" in tail else {}
    text_model = network_with(tail, extra)
    found, refused = streams(text_model.graph)
    assert not found
    assert re.search(reason, refused[0])
    changed, detail, count = rotated(text_model)
    assert count == 1  # the heads
    assert "stream left: " in detail
    assert same(text_model, changed, x=tokens()) < 1e-5


def network_with(tail: str, extra: dict[str, np.ndarray]) -> ir.Model:
    """The network with one more node, whose result is an output too."""
    text = (
        f"{HEADER} g (int64[n, 6] x) => (float[n, 5] y, float[n, 6, k] w) {{ t = Gather(table, x) "
        f"h0 = Add(t, pos) {LAYER_NORM.format(x='h0', y='a')} {ATTENTION} h1 = Add(h0, o4) "
        f"{LAYER_NORM.format(x='h1', y='m')} {MLP} h2 = Add(h1, d1) "
        f"{LAYER_NORM.format(x='h2', y='z')} {tail} pool = ReduceMean<keepdims = 0>(z, tokens) "
        "y = Gemm<transB = 1>(pool, wh, bh) }"
    )
    return _named(text, _constants("layer") | extra)


def test_root_mean_squares_may_be_left_out_by_a_reader() -> None:
    """Without a mean to take away, a layer may read the stream itself."""
    model = network(
        "quotient", head="direct", tail="direct = ReduceMean<keepdims = 0>(h2, tokens) "
    )
    changed, detail, _ = rotated(model)
    assert "stream left" not in detail
    assert same(model, changed, x=tokens()) < 1e-5


def test_heads_are_turned_one_by_one() -> None:
    (heads,) = heads_of(network().graph)
    assert (heads.size, heads.value.outputs, heads.output.shape[2]) == (4, WIDTH, WIDTH)
    model = network()
    changed, *_ = rotated(model, stream=False)
    before, after = (run_all(m, {"x": tokens()})["v"] for m in (model, changed))
    assert np.allclose(np.linalg.norm(before, axis=-1), np.linalg.norm(after, axis=-1), rtol=1e-4)
    assert not np.allclose(before, after, atol=0.1)


def test_at_run_time_the_layer_behind_the_activation_reads_a_rotated_value() -> None:
    changed, *_ = rotated(network(), online=True)
    (node,) = [node for node in changed.graph if node.op_type == "Einsum"]
    assert node.inputs[0].name == "f"
    matrix = node.inputs[1].const_value.numpy()
    assert np.allclose(matrix @ matrix.T, np.eye(24), atol=1e-6)
    assert np.allclose(np.abs(matrix), 1 / np.sqrt(24))


def test_as_a_transformation_of_a_recipe() -> None:
    model = network()
    changed, (record,) = transform(model, ["rotate:seed=3,online=true"])
    assert record.count == 3
    assert same(model, changed, x=tokens()) < 1e-5


def test_quantized_and_exported_it_is_its_simulation(tmp_path: Path) -> None:
    graph = build(rotated(network(), online=True)[0])
    place = target("ort-cpu-vnni")
    model = QuantizedGraph(graph, place.sites(graph, WeightGrid(bits=8), ActivationGrid(bits=8)))
    inputs = (torch.from_numpy(tokens(16)),)
    for _ in make("rtn").learn(model, Task(lambda: iter([inputs]), 16)):
        pass
    runtime = open_session(export(model, tmp_path / "m.onnx").path, optimise=False)
    with torch.no_grad():
        simulated, exact = model(*inputs)[0].numpy(), graph.module(*inputs)[0].numpy()
    ran = run(runtime, inputs)["y"]
    assert np.abs(simulated - exact).max() > 0.01
    apart = np.abs(ran - simulated).max(1)  # of each example
    assert (apart < 1e-5).mean() > 0.8  # a tie may move one code of an example by a step
    assert apart.max() < np.abs(simulated - exact).max()
