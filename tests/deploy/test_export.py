"""What a written file holds, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from tests.deploy import small
from workbench.deploy.export import at_opset, export
from workbench.deploy.pack import pack, weight_bytes, weight_container
from workbench.deploy.runtime import kernels, open_session, run, with_outputs
from workbench.foundation.errors import ExportError
from workbench.graph.build import build
from workbench.graph.fold import fold
from workbench.graph.targets import Override
from workbench.maths.grid import Granularity, Grid


@pytest.fixture(scope="module")
def graph():
    return build(small.two_convolutions())


@pytest.fixture
def model(graph):
    return small.quantize(graph, 8, 8)


def initializers(path):
    return {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}


def test_nothing_is_renamed(model, tmp_path):
    proto = onnx.load(export(model, tmp_path / "m.onnx").path)
    names = {node.name for node in proto.graph.node}
    tensors = {name for node in proto.graph.node for name in node.output}
    assert {"first", "relu6", "second", "relu", "pool", "head"} <= names
    assert {"h1", "a1", "h2", "a2", "pooled", "y"} <= tensors
    assert {"x__q", "x__dq", "a1__q", "a1__dq", "pooled__q", "w1__dq", "b1__dq"} <= tensors
    assert [value.name for value in proto.graph.input] == ["x"]
    assert [value.name for value in proto.graph.output] == ["y"]


def test_float_weights_are_gone_and_the_source_is_untouched(graph, model, tmp_path):
    before = ir.to_proto(graph.model).SerializeToString()
    held = initializers(export(model, tmp_path / "m.onnx").path)
    assert not {"w1", "b1", "w2", "b2", "w3", "b3"} & set(held)
    assert held["b1__q"].data_type == onnx.TensorProto.INT32
    assert ir.to_proto(graph.model).SerializeToString() == before


def test_batch_stays_free(model, tmp_path):
    session = open_session(export(model, tmp_path / "m.onnx").path)
    assert session.get_inputs()[0].shape[0] == "batch"
    for count in (1, 5):
        assert run(session, small.inputs_of(model.graph, count))["y"].shape == (count, 5)


def test_metadata_survives(model, tmp_path):
    recipe = 'target = "ort-cpu"\nseed = 0\n'
    metadata = {"workbench.recipe": recipe, "author": "Ä"}
    path = export(model, tmp_path / "m.onnx", metadata=metadata).path
    stored = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert stored["workbench.recipe"] == recipe
    assert stored["author"] == "Ä"
    assert stored["workbench.version"]


def test_the_record_is_json(model, tmp_path):
    exported = export(model, tmp_path / "m.onnx")
    record = json.loads(json.dumps(exported.record()))
    assert record["bytes"] == exported.path.stat().st_size
    assert record["opset"] == 21


@pytest.mark.parametrize(("bits", "share"), [(8, 1 / 4), (4, 1 / 8), (3, 1 / 8)])
def test_the_file_shrinks_as_the_bits_say(bits, share, tmp_path):
    graph = build(small.two_matmuls(256))
    exported = export(small.quantize(graph, bits, 8), tmp_path / "m.onnx")
    assert exported.bytes / exported.float_bytes == pytest.approx(share, rel=0.08)


@pytest.mark.parametrize("store", ["packed", "int8"])
@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
@pytest.mark.parametrize("bits", [2, 4, 5, 8])
def test_weight_bytes_are_those_in_the_file(bits, granularity, store, tmp_path):
    model = small.quantize(small.graph_of("gemm-b"), bits, granularity=granularity, symmetric=False)
    exported = export(model, tmp_path / "m.onnx", store=store, opset=25)
    held = initializers(exported.path)
    raw = [held[f"w__{part}"].raw_data for part in ("q", "scale", "zero_point")]
    counted = weight_bytes(model.sites["w"], model.frozen()["w"], store, opset=25, two_bits=True)
    assert counted == sum(map(len, raw)) == exported.weight_bytes
    whole = weight_bytes(model.sites["w"], model.frozen()["w"], "int8")
    assert exported.int8_bytes == exported.bytes - counted + whole


def test_changed_floats_are_written_back(graph, tmp_path):
    model = small.quantize(graph, 4)
    with torch.no_grad():
        model.parameter("b1").add_(1.5)
    held = initializers(export(model, tmp_path / "m.onnx").path)
    stored = onnx.numpy_helper.to_array(held["b1"])
    np.testing.assert_array_equal(stored, model.parameter("b1").detach().numpy())
    assert not np.array_equal(stored, graph.module.get_parameter("b1").detach().numpy())


def test_layers_left_float_stay_float(graph, tmp_path):
    model = small.quantize(graph, 4, 8, overrides=(Override(pattern="head", weights=0),))
    path = export(model, tmp_path / "m.onnx").path
    assert "w3" in initializers(path)
    assert "w3__q" not in initializers(path)


def test_narrow_activations_stay_in_integer_kernels(graph, tmp_path):
    """Clipping codes, and reading before a ReLU6 that the grid makes superfluous, keep fusion."""
    model = small.quantize(graph, 8, 5)
    exported = export(model, tmp_path / "m.onnx")
    assert kernels(exported.path)["QLinearConv"] == 2
    assert exported.notes == ("5-bit activations travel in 8 bits (4)",)
    assert "a1" not in {out for node in onnx.load(exported.path).graph.node for out in node.output}


def test_a_relu6_that_limits_more_than_the_grid_is_kept(graph, tmp_path):
    model = small.quantize(graph, 8, 5)
    model.quantizer("a1").set_range(torch.tensor(0.0), torch.tensor(20.0))
    path = export(model, tmp_path / "m.onnx").path
    inputs = small.inputs_of(graph, 4)
    got = run(open_session(with_outputs(path, ["a1", "a1__dq"]), optimise=False), inputs)
    assert got["a1"].max() <= 6 < got["a1__dq"].max() + 1
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(got["y"]), model(*inputs)[0])


def test_four_bits_in_eight_run_in_integer_kernels(graph, tmp_path):
    packed = export(small.quantize(graph, 4, 8), tmp_path / "packed.onnx")
    fast = export(small.quantize(graph, 4, 8), tmp_path / "fast.onnx", store="int8")
    assert kernels(packed.path)["QLinearConv"] == 0
    assert kernels(fast.path)["QLinearConv"] == 2
    assert packed.bytes < fast.bytes
    assert fast.notes == ("4-bit weights lie in 8-bit containers (3)",)


def test_a_weight_also_read_in_float_is_stored_twice(tmp_path):
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"], name="layer"),
        onnx.helper.make_node("Add", ["h", "w"], ["y"], name="again"),
    ]
    tensor = onnx.numpy_helper.from_array(small.random(4, 4), "w")
    model = small.quantize(build(small.wrap(nodes, ("batch", 4, 4), [tensor])), 4)
    exported = export(model, tmp_path / "m.onnx")
    assert {"w", "w__q"} <= set(initializers(exported.path))
    assert "also read in float" in exported.notes[0]


def test_bias_overflow_names_the_layer(model, tmp_path):
    with torch.no_grad():
        model.parameter("b2").fill_(1e6)
    model.quantizer("a1").set_range(torch.tensor(0.0), torch.tensor(1e-4))
    with pytest.raises(ExportError, match=r"bias 'b2' of layer 'second' .* overflows 32 bits"):
        export(model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_a_bad_scale_is_refused(model, tmp_path):
    model.quantizer("a1").scale.fill_(float("nan"))
    with pytest.raises(ExportError, match=r"scale of 'a1'|bias 'b2'"):
        export(model, tmp_path / "m.onnx")


def test_a_failed_write_leaves_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ExportError, match="No space left"):
        export(model, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot write"):
        export(model, tmp_path / "file" / "m.onnx")


def test_tensors_lie_beside_the_file_where_asked_or_needed(tmp_path, monkeypatch):
    model = small.quantize(build(small.two_matmuls(64)), 4)
    inputs = small.inputs_of(model.graph, 3)
    plain = export(model, tmp_path / "plain.onnx")
    beside = export(model, tmp_path / "beside.onnx", external=True)
    monkeypatch.setattr("workbench.deploy.external.MAX_PROTO_BYTES", 1000)
    monkeypatch.setattr("workbench.deploy.external.GRAPH_BYTES", 10)
    large = export(model, tmp_path / "large.onnx")
    assert plain.data is None
    for written in (beside, large):
        assert written.data == written.path.with_name(f"{written.path.name}.data")
        assert written.bytes == written.path.stat().st_size + written.data.stat().st_size
        locations = {
            entry.value
            for tensor in onnx.load(written.path, load_external_data=False).graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
        assert locations == {written.data.name}
        outputs = [run(open_session(file.path), inputs)["y"] for file in (plain, written)]
        np.testing.assert_array_equal(*outputs)
    names = {"plain.onnx", "beside.onnx", "large.onnx", "beside.onnx.data", "large.onnx.data"}
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.parametrize(
    ("options", "source", "opset"),
    [
        ({"bits": 8}, 13, 13),
        ({"bits": 8, "activations": 8}, 17, 17),
        ({"bits": 8, "table": "float8e5m2"}, 17, 19),
        ({"bits": 4}, 17, 21),
        ({"bits": 8, "activations": 16}, 17, 21),
        ({"bits": 2}, 17, 25),
        ({"bits": 2, "activations": 8}, 17, 21),
        ({"bits": 8}, 9, 13),
    ],
)
def test_the_oldest_sufficient_opset_is_chosen(options, source, opset, tmp_path):
    graph = build(small.one_layer("conv", opset=source))
    assert export(small.quantize(graph, **options), tmp_path / "m.onnx").opset == opset


def test_an_opset_that_nobody_has_is_refused(model, tmp_path):
    with pytest.raises(ExportError, match="opset was '12'; choose '13' to"):
        export(model, tmp_path / "m.onnx", opset=12)


def test_nothing_of_this_machine_is_told(model, tmp_path):
    data = export(model, tmp_path / "m.onnx").path.read_bytes()
    assert str(tmp_path).encode() not in data
    assert str(Path.home()).encode() not in data or str(Path.home()) == "/"


def test_names_already_taken_are_refused(tmp_path):
    nodes = [
        onnx.helper.make_node("Relu", ["x"], ["w__q"], name="relu"),
        onnx.helper.make_node("MatMul", ["w__q", "w"], ["y"], name="layer"),
    ]
    tensor = onnx.numpy_helper.from_array(small.random(4, 4), "w")
    model = small.quantize(build(small.wrap(nodes, ("batch", 4), [tensor])), 4)
    with pytest.raises(ExportError, match="already has a tensor 'w__q'"):
        export(model, tmp_path / "m.onnx")


@pytest.mark.parametrize("opset", [11, 13, 17, 20])
@pytest.mark.parametrize("kind", ["conv", "transposed", "gemm-b", "matmul", "gru", "embedding"])
def test_older_models_are_raised(kind, opset, tmp_path):
    graph = build(small.one_layer(kind, opset=opset))
    active = None if kind in ("gru", "embedding") else 8
    exported = export(small.quantize(graph, 4, active), tmp_path / "m.onnx")
    assert exported.opset == 21
    inputs = small.inputs_of(graph, 2)
    expected = run(open_session(ir.to_proto(graph.model).SerializeToString()), inputs)["y"]
    got = run(open_session(exported.path), inputs)["y"]
    assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.95


def test_newer_models_keep_their_opset(tmp_path):
    graph = build(small.one_layer("conv", opset=23))
    assert export(small.quantize(graph), tmp_path / "m.onnx").opset == 23


def test_operators_that_do_not_convert_are_refused():
    node = onnx.helper.make_node("Upsample", ["x", "s"], ["y"], name="up", mode="nearest")
    scales = onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s")
    model = small.wrap([node], ("batch", 1, 2, 2), [scales], opset=9)
    broken = ir.from_proto(ir.to_proto(model))
    broken.graph[0].op_type = "NoSuchOperator"
    with pytest.raises(ExportError, match="does not convert to 21"):
        at_opset(broken, 21)


def test_folded_models_export(tmp_path):
    folded, _ = fold(small.two_convolutions())
    graph = build(folded)
    exported = export(small.quantize(graph, 8, 8), tmp_path / "m.onnx")
    assert kernels(exported.path)["QLinearConv"] == 2


@pytest.mark.parametrize(
    ("bits", "options", "name"),
    [
        (8, {}, "INT8"),
        (5, {}, "INT8"),
        (4, {}, "INT4"),
        (3, {}, "INT4"),
        (2, {}, "INT4"),
        (2, {"opset": 25}, "INT4"),
        (2, {"opset": 25, "two_bits": True}, "INT2"),
        (1, {"opset": 25, "two_bits": True}, "INT2"),
        (4, {"store": "int8"}, "INT8"),
    ],
)
def test_containers(bits, options, name):
    assert weight_container(Grid(bits), **options).name == name
    unsigned = Grid(bits, signed=False, symmetric=False, granularity=Granularity("channel"))
    assert weight_container(unsigned, **options).name == f"U{name}"


def test_codes_that_do_not_fit_are_refused():
    with pytest.raises(ExportError, match="run from -8 to 8 and do not fit int4"):
        pack(torch.tensor([-8, 8]), ir.DataType.INT4, "w")


def test_wide_weights_are_refused():
    with pytest.raises(ExportError, match="'16' bits have no container"):
        weight_container(Grid(16))
