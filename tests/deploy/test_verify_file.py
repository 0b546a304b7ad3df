"""Files of another tool: their own simulation, the cause, and what each cure costs."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import numpy_helper

from tests.deploy import saturating, small
from workbench.deploy import cures, verify
from workbench.deploy.cures import apply_cure
from workbench.deploy.doctor import examine
from workbench.deploy.export import export
from workbench.deploy.foreign import FileSimulation
from workbench.deploy.runtime import open_session, run
from workbench.deploy.verify_file import compare_file, verify_file
from workbench.foundation.errors import ExportError, RunError
from workbench.graph.build import build


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return saturating.files(tmp_path_factory.mktemp("files"))


@pytest.fixture
def old_processor(monkeypatch):
    """Default int8 kernels saturate, whatever this machine has."""
    monkeypatch.setattr(verify, "open_session", saturating.open_session)
    monkeypatch.setattr(cures, "open_session", saturating.open_session)


@pytest.fixture(scope="module")
def batches():
    return [(saturating.data(24, seed=9),), (saturating.data(8, seed=10),)]


@pytest.fixture(scope="module")
def diagnosed(files, batches):
    """What is found where kernels saturate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "open_session", saturating.open_session)
        patch.setattr(cures, "open_session", saturating.open_session)
        (wanted,) = run(open_session(files[0]), (torch.cat([x for (x,) in batches]),)).values()
        return verify_file(*files, batches, wanted.argmax(-1))


def test_a_file_is_its_own_simulation(files, batches):
    found = compare_file(files[1], batches)
    off = found.modes[0]
    assert off.verdict in ("equal", "within one step")
    assert off.max_steps <= 1
    assert off.sites[0].name == "x"
    assert len(off.sites) == 3
    assert found.examples == 32
    assert found.stored == 0


def test_saturation_is_established_and_its_layers_are_named(diagnosed):
    assert diagnosed.verdict == "differs"
    assert diagnosed.cause == verify.SATURATION
    assert diagnosed.layers == ("first", "second")
    first = diagnosed.suspects[0]
    assert first.max_steps is not None
    assert first.max_steps > 1
    assert first.share is not None
    assert first.mended_share is not None
    assert first.mended_share < first.share
    assert diagnosed.modes[2].verdict != "differs"


def test_each_cure_is_measured(diagnosed):
    names = ["exact-kernels", "7-bit", "fitted", "uint8-weights"]
    assert [cure.name for cure in diagnosed.cures] == names
    exact, seven, fitted, unsigned = (cure.price for cure in diagnosed.cures)
    price = diagnosed.price
    assert price.departing == 2
    assert [p.departing for p in (exact, seven, fitted, unsigned)] == [0] * 4
    assert exact.sqnr_db > fitted.sqnr_db > seven.sqnr_db > price.sqnr_db + 3
    assert unsigned.sqnr_db == pytest.approx(exact.sqnr_db, abs=0.1)
    assert price.score == price.agreement  # the labels are the float model's choices
    assert price.float_score == 1.0
    assert price.examples == 32
    assert exact.ratio == pytest.approx(exact.latency_ms / exact.float_latency_ms)
    assert min(p.latency_ms for p in (price, exact, seven, fitted, unsigned)) > 0


def test_records_are_json(diagnosed):
    record = json.loads(json.dumps(diagnosed.record(), allow_nan=False))
    assert record["suspects"][0]["layers"] == ["first"]
    assert record["cures"][1]["layers"] == ["first", "second"]
    assert record["cures"][0]["config"] == {"session.x64quantprecision": "1"}
    assert record["price"]["departing"] == 2


@pytest.mark.usefixtures("old_processor")
@pytest.mark.parametrize("cure", ["7-bit", "fitted", "uint8-weights"])
def test_a_cured_file_no_longer_departs(cure, files, batches, tmp_path):
    assert compare_file(files[1], batches).verdict == "differs"
    applied = apply_cure(files[1], cure, ["first", "second"], tmp_path / "cured.onnx")
    assert applied.layers == ("first", "second")
    assert compare_file(applied.path, batches).verdict != "differs"


@pytest.mark.usefixtures("old_processor")
def test_only_the_layers_asked_for_are_rewritten(files, batches, tmp_path):
    applied = apply_cure(files[1], "7-bit", ["first"], tmp_path / "cured.onnx")
    found = compare_file(applied.path, batches)
    assert applied.layers == ("first",)
    assert found.layers == ("second",)


def test_seven_bits_are_half_the_codes(files, tmp_path):
    path = apply_cure(files[1], "7-bit", None, tmp_path / "cured.onnx").path
    before, after = (_weights(each) for each in (files[1], path))
    assert before.keys() == after.keys() == {"first", "second"}
    for name, (codes, scale) in after.items():
        old, old_scale = before[name]
        assert np.abs(codes.astype(int)).max() == 64
        assert np.abs(2 * codes.astype(int) - old).max() <= 1
        np.testing.assert_array_equal(scale, 2 * old_scale)


def test_fitted_weights_cannot_saturate_where_they_meet(files, tmp_path):
    path = apply_cure(files[1], "fitted", None, tmp_path / "cured.onnx").path
    before, after = (_weights(each) for each in (files[1], path))
    for name, (codes, scale) in after.items():
        pairs = codes.astype(int).reshape(-1, 2, codes.shape[1])
        sums = np.maximum(np.maximum(pairs, 0).sum(1), -np.minimum(pairs, 0).sum(1)).max(0)
        assert 100 < sums.max() <= 128
        growth = scale / before[name][1]
        assert (growth >= 1).all()
        assert (growth < 2).all()  # finer than 7 bits


def test_uint8_weights_are_the_same_values(files, tmp_path):
    path = apply_cure(files[1], "uint8-weights", None, tmp_path / "cured.onnx").path
    x = saturating.data(5)
    before, after = (
        next(iter(run(open_session(each, optimise=False), (x,)).values()))
        for each in (files[1], path)
    )
    np.testing.assert_array_equal(before, after)


def test_settings_write_no_file(files):
    applied = apply_cure(files[1], "exact-kernels")
    assert applied.path == files[1]
    assert applied.config == {"session.x64quantprecision": "1"}
    assert "session.x64quantprecision=1" in applied.sentence()


def test_a_cured_file_lies_beside_the_other(files):
    applied = apply_cure(files[1], "7-bit", ["first"])
    assert applied.path.name == "quantized.7-bit.onnx"
    assert "in 1 layer" in applied.sentence()
    assert onnx.load(applied.path).metadata_props[-1].value.startswith("7-bit")


def test_cures_that_cannot_be_applied_say_so(files, tmp_path):
    with pytest.raises(ExportError, match="there is no cure 'hope'; known are: exact-kernels"):
        apply_cure(files[1], "hope")
    with pytest.raises(ExportError, match="'7-bit' changes nothing in 'quantized"):
        apply_cure(files[1], "7-bit", ["w1_DequantizeLinear"])
    with pytest.raises(ExportError, match="has no layer 'nowhere'; its layers are first, second"):
        apply_cure(files[1], "7-bit", ["nowhere"])
    with pytest.raises(ExportError, match="is the file that is to be cured; write to another path"):
        apply_cure(files[1], "7-bit", None, files[1])
    with pytest.raises(ExportError, match="cannot write"):
        apply_cure(files[1], "7-bit", None, tmp_path / "no" / "folder.onnx")


def test_a_float_file_is_refused(files, batches):
    with pytest.raises(ExportError, match=r"nothing in 'float.onnx' is quantized"):
        compare_file(files[0], batches)


def stateful(folder):
    """x (batch, 64) beside a state (2, batch, 64), float and quantized by ONNX Runtime's tool."""
    float_path, path = saturating.files(folder)
    for each in (float_path, path):
        proto = onnx.load(each)
        graph = proto.graph
        value = onnx.helper.make_tensor_value_info
        graph.input.append(value("state", onnx.TensorProto.FLOAT, (2, "batch", 64)))
        last = graph.output[0].name
        for node in graph.node:
            node.output[:] = ["plain" if name == last else name for name in node.output]
        graph.initializer.append(numpy_helper.from_array(np.array([0]), "first_axis"))
        graph.node.append(
            onnx.helper.make_node("ReduceSum", ["state", "first_axis"], ["sum"], keepdims=0)
        )
        graph.node.append(onnx.helper.make_node("Add", ["plain", "sum"], [last]))
        onnx.save(proto, each)
    return float_path, path


def test_examples_may_lie_along_another_axis(tmp_path):
    state = torch.from_numpy(small.random(2, 12, 64))
    found = verify_file(*stateful(tmp_path), [(saturating.data(12), state)], [0] * 12, examples=5)
    assert found.batch_sizes == (1, 5)
    assert found.examples == 5
    assert found.price is not None
    assert found.price.examples == 12
    assert found.price.sqnr_db > 3


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        ((torch.tensor(1.0),), r"'x' has shape \(\), but the model takes \(batch, 64\)"),
        ((torch.ones(3, 65),), r"'x' has shape \(3, 65\), but the model takes"),
        ((torch.ones(3, 64).double(),), "has type 'torch.float64', but the model takes"),
        ((torch.full((3, 64), np.nan),), "'x' holds NaN or infinity; take out those examples"),
        ((torch.ones(3, 64), torch.ones(3)), "holds 2 tensors, but the model takes 1 inputs"),
        ((torch.ones(0, 64),), "there is nothing to compare"),
    ],
)
def test_data_that_does_not_fit_is_refused_at_the_door(files, batch, sentence):
    with pytest.raises(ExportError, match=sentence):
        verify_file(*files, [batch])


def test_counts_below_one_are_refused(files, batches):
    with pytest.raises(RunError, match="examples was '0'; give 1 or more"):
        verify_file(*files, batches, examples=0)
    with pytest.raises(RunError, match="threads was '0'; give 1 or more"):
        verify_file(*files, batches, threads=0)


def test_another_float_model_is_noted(files, batches, tmp_path):
    proto = onnx.load(files[0])
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor)[::-1], tensor.name))
    onnx.save(proto, tmp_path / "other.onnx")
    assert verify_file(*files, batches).notes == ()
    (note,) = verify_file(tmp_path / "other.onnx", files[1], batches).notes
    assert "the float model is probably not this file's" in note


def test_labels_must_fit(files, batches):
    with pytest.raises(ExportError, match="3 labels for 32 examples"):
        verify_file(*files, batches, [0, 1, 2])


@pytest.mark.parametrize("activations", [4, 8])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "gemm", "gemm-b", "matmul", "transposed"])
def test_our_own_files_are_read_like_any_other(kind, activations, tmp_path):
    graph = small.graph_of(kind)
    model = small.quantize(graph, 8, activations)
    path = export(model, tmp_path / "m.onnx").path
    batches = [small.inputs_of(graph, 4)]
    found = compare_file(path, batches)
    assert found.verdict == "equal", found.sentence()
    reference = verify.verify(path, model, batches)
    rows = [[row.name for row in each.modes[0].sites] for each in (found, reference)]
    assert rows[0] == rows[1]


def test_points_know_their_layers(tmp_path):
    model = small.quantize(build(small.two_convolutions()), 8, 8)
    path = export(model, tmp_path / "m.onnx").path
    simulation = FileSimulation(path)
    found = {point.name: point.layers for point in simulation.points}
    assert list(found.values()) == [(), ("first",), ("second",), ()]
    assert simulation.blame("y") == ("head",)


@pytest.mark.parametrize("cure", ["7-bit", "fitted"])
@pytest.mark.parametrize("kind", ["conv", "gemm", "gemm-b", "transposed"])
def test_biases_follow_their_weights(kind, cure, tmp_path):
    """A fused kernel takes the bias's scale from the other two, so a wrong one would show."""
    graph = small.graph_of(kind)
    model = small.quantize(graph, 8, 8)
    path = export(model, tmp_path / "m.onnx").path
    applied = apply_cure(path, cure, None, tmp_path / "cured.onnx")
    assert applied.layers == ("layer",)
    found = compare_file(applied.path, [small.inputs_of(graph, 4)])
    assert found.ok, found.sentence()


def test_a_stored_float_weight_is_quantized_before_it_is_halved(tmp_path):
    """Some tools store the float weight and let the file quantize it."""
    model = small.quantize(small.graph_of("matmul"), 8, 8)
    path = export(model, tmp_path / "m.onnx").path
    proto = onnx.load(path)
    pair = next(n for n in proto.graph.node if n.output[0] == "w__dq")
    stored = next(t for t in proto.graph.initializer if t.name == pair.input[0])
    held = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    float_weight = held[pair.input[0]].astype(np.float32) * held[pair.input[1]]
    stored.CopyFrom(numpy_helper.from_array(float_weight, "w_float"))
    axis = {a.name: a.i for a in pair.attribute}
    node = onnx.helper.make_node(
        "QuantizeLinear", ["w_float", *pair.input[1:]], [pair.input[0]], name="quantize", **axis
    )
    proto.graph.node.insert(0, node)
    onnx.save(proto, path)
    applied = apply_cure(path, "7-bit", None, tmp_path / "cured.onnx")
    assert applied.layers == ("layer",)
    names = {t.name for t in onnx.load(applied.path).graph.initializer}
    assert "w_float" not in names


def test_a_file_that_fused_kernels_refuse_is_told_from_a_broken_one(tmp_path):
    """Blocks of int8 weights beside quantized data: MatMulIntegerToFloat fails at run time."""
    path = tmp_path / "blocks.onnx"
    onnx.save(_blocks(), path)
    batch = (torch.from_numpy(small.random(4, 64)).abs(),)
    if _runs(path, batch):  # where a version of ONNX Runtime has mended it
        assert compare_file(path, [batch]).ok
        return
    with pytest.raises(ExportError, match="is valid, but the optimised graph does not run") as got:
        compare_file(path, [batch])
    assert "session.disable_quant_qdq=1" in str(got.value)


@pytest.mark.parametrize("kind", ["conv", "matmul", "residual"])
def test_integer_operators_are_read_as_pairs(kind, tmp_path):
    """Files in the QOperator format have a simulation too, and their weights can be rewritten."""
    model = {"conv": small.two_convolutions, "matmul": small.two_matmuls, "residual": _residual}
    _, path = saturating.files(tmp_path, model=model[kind](), integer=True)
    assert any(n.op_type.startswith("QLinear") for n in onnx.load(path).graph.node)
    shape = FileSimulation(path).graph.inputs[0].shape
    batch = (saturating.data(8, 5, [int(size or 0) for size in shape[1:]]),)
    found = compare_file(path, [batch])
    assert found.ok or examine().saturates, found.sentence()
    assert len(found.modes[0].sites) >= 3
    assert found.modes[0].sites[-1].count > 0
    applied = apply_cure(path, "7-bit", None, tmp_path / "cured.onnx")
    assert compare_file(applied.path, [batch]).ok


def _residual() -> ir.Model:
    """x -> MatMul -> Add x -> MatMul -> y."""
    tensors = [
        numpy_helper.from_array(small.random(64, 64, seed=seed), name)
        for seed, name in enumerate(("w1", "w2"))
    ]
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
        onnx.helper.make_node("Add", ["h", "x"], ["a"], name="add"),
        onnx.helper.make_node("MatMul", ["a", "w2"], ["y"], name="second"),
    ]
    return small.wrap(nodes, ("batch", 64), tensors)


def _runs(path, batch):
    try:
        run(open_session(path), batch)
    except ExportError:
        return False
    return True


def _blocks() -> onnx.ModelProto:
    """x -> MatMul with int8 weights in blocks of 16 -> y."""
    stored = {
        "w": (40 * small.random(64, 64)).clip(-127, 127).astype(np.int8),
        "scale": np.abs(small.random(4, 64)) + np.float32(0.1),
        "zero": np.zeros((4, 64), np.int8),
        "x_scale": np.float32(1 / 64),
        "x_zero": np.uint8(0),
    }
    nodes = [
        onnx.helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["xq"]),
        onnx.helper.make_node("DequantizeLinear", ["xq", "x_scale", "x_zero"], ["xd"]),
        onnx.helper.make_node(
            "DequantizeLinear", ["w", "scale", "zero"], ["wd"], axis=0, block_size=16
        ),
        onnx.helper.make_node("MatMul", ["xd", "wd"], ["y"], name="layer"),
    ]
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in stored.items()]
    return ir.to_proto(small.wrap(nodes, ("batch", 64), tensors))


def _weights(path):
    """Codes and scale of each MatMul's weight, by layer."""
    proto = onnx.load(path)
    held = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    made = {output: node for node in proto.graph.node for output in node.output}
    found = {}
    for node in proto.graph.node:
        if node.op_type == "MatMul":
            pair = made[node.input[1]]
            found[node.name] = held[pair.input[0]], held[pair.input[1]]
    return found
