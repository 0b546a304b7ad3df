"""Files that are not what they should be: one sentence each, never a traceback."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.graph.nets import save
from workbench.foundation.errors import ModelError, OperatorError
from workbench.graph import build, fold, load


def small_model(**changes: object) -> onnx.ModelProto:
    """y = relu(x w), with parts replaced."""
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")
    nodes = changes.get(
        "nodes",
        [
            helper.make_node("MatMul", ["x", "w"], ["h"], name="matmul"),
            helper.make_node("Relu", ["h"], ["y"], name="relu"),
        ],
    )
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        changes.get("weights", [weight]),
    )
    opset = helper.make_opsetid("", changes.get("opset", 21))
    return helper.make_model(graph, opset_imports=[opset], ir_version=10)


def refused(path: Path, words: str, **options: int) -> None:
    """Loading fails with one sentence that has the words in it."""
    with pytest.raises(ModelError, match=words) as caught:
        load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.__cause__ is None


def test_sound_file_loads(tmp_path: Path):
    graph = build(load(save(small_model(), tmp_path / "a.onnx")))
    assert graph.module(torch.tensor([[1.0, -2.0, 3.0]]))[0].tolist() == [[1.0, 0.0, 3.0]]
    assert graph.inputs[0].shape == ("n", 3)
    assert graph.attribute_of == {"w": "w"}


def test_missing_folder_and_suffix(tmp_path: Path):
    refused(tmp_path / "none.onnx", "cannot be read")
    refused(tmp_path, "not a regular file")
    refused(save(small_model(), tmp_path / "a.bin"), "does not end in .onnx")
    refused(save(b"", tmp_path / "b.onnx"), "is empty")
    refused(save(small_model(), tmp_path / "c.onnx"), "above the limit", max_bytes=10)
    refused(Path("a\0b.onnx"), "cannot be read")


def test_fifo_is_not_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.onnx")
    refused(tmp_path / "pipe.onnx", "not a regular file")


def test_disguises(tmp_path: Path):
    refused(save(b"\x80\x04\x95\x05", tmp_path / "p.onnx"), "a Python pickle")
    with zipfile.ZipFile(tmp_path / "z.onnx", "w") as archive:
        archive.writestr("data.pkl", "x")
    refused(tmp_path / "z.onnx", "a zip archive")
    torch.save({"w": torch.ones(2)}, tmp_path / "t.onnx")
    refused(tmp_path / "t.onnx", "a zip archive")
    refused(save(b"<html></html>", tmp_path / "h.onnx"), "a text file")


def build_or_refuse(path: Path) -> str:
    """The message of a refusal, or nothing; any other error is a failure."""
    try:
        build(fold(load(path))[0])
    except ModelError as error:
        return str(error)
    return ""


def test_truncated_anywhere(tmp_path: Path):
    whole = small_model().SerializeToString()
    for length in range(1, len(whole) - 1, 3):
        assert "\n" not in build_or_refuse(save(whole[:length], tmp_path / "cut.onnx"))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=200))
def test_random_bytes(tmp_path: Path, data: bytes):
    with pytest.raises(ModelError):
        load(save(data, tmp_path / "noise.onnx"))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 10_000), value=st.integers(0, 255))
def test_one_changed_byte(tmp_path: Path, where: int, value: int):
    raw = bytearray(small_model().SerializeToString())
    raw[where % len(raw)] = value
    assert "\n" not in build_or_refuse(save(bytes(raw), tmp_path / "hit.onnx"))


def test_no_graph_and_empty_graph(tmp_path: Path):
    empty = onnx.ModelProto(ir_version=10)
    refused(save(empty, tmp_path / "a.onnx"), "holds no ONNX graph")
    refused(save(small_model(nodes=[]), tmp_path / "b.onnx"), "no nodes")


def test_cycle(tmp_path: Path):
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
        helper.make_node("Relu", ["b"], ["y"], name="third"),
    ]
    refused(save(small_model(nodes=nodes), tmp_path / "a.onnx"), "waits for its own output")


def test_unsorted_nodes_are_sorted(tmp_path: Path):
    model = small_model()
    model.graph.node.reverse()
    loaded = load(save(model, tmp_path / "a.onnx"))
    assert [node.op_type for node in loaded.graph] == ["MatMul", "Relu"]


def test_missing_initializer(tmp_path: Path):
    refused(save(small_model(weights=[]), tmp_path / "a.onnx"), "reads 'w', which nothing makes")


def test_value_made_twice(tmp_path: Path):
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Relu", ["x"], ["y"])]
    refused(save(small_model(nodes=nodes), tmp_path / "a.onnx"), "two nodes .* make the value 'y'")


@pytest.mark.parametrize("opset", [1, 6, 99])
def test_opset_out_of_reach(tmp_path: Path, opset: int):
    refused(save(small_model(opset=opset), tmp_path / "a.onnx"), f"uses opset '{opset}'")


def test_tensor_that_lies_about_its_size(tmp_path: Path):
    model = small_model()
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]
    refused(save(model, tmp_path / "a.onnx"), "does not hold")
    model.graph.initializer[0].dims[:] = [-3, -3]
    refused(save(model, tmp_path / "a.onnx"), "has the shape")
    model.graph.initializer[0].dims[:] = [1] * 40
    refused(save(model, tmp_path / "a.onnx"), "has the shape")


def external(location: str, length: str = "36", offset: str = "0") -> onnx.ModelProto:
    model = small_model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", length), ("offset", offset)):
        tensor.external_data.add(key=key, value=value)
    return model


def test_external_data_beside_the_file(tmp_path: Path):
    (tmp_path / "w.bin").write_bytes(np.eye(3, dtype=np.float32).tobytes())
    loaded = load(save(external("w.bin"), tmp_path / "a.onnx"))
    assert np.array_equal(loaded.graph.initializers["w"].const_value.numpy(), np.eye(3))


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "sub/w.bin", "..", "", "a\0b"])
def test_external_data_elsewhere(tmp_path: Path, location: str):
    refused(save(external(location), tmp_path / "a.onnx"), "only a plain file beside")


def test_external_data_through_links(tmp_path: Path):
    (tmp_path / "real").write_bytes(b"\0" * 36)
    (tmp_path / "soft").symlink_to(tmp_path / "real")
    refused(save(external("soft"), tmp_path / "a.onnx"), "only a plain file beside")
    os.link(tmp_path / "real", tmp_path / "hard")
    refused(save(external("hard"), tmp_path / "a.onnx"), "only a plain file beside")


@pytest.mark.parametrize(("length", "offset"), [("35", "0"), ("36", "1"), ("36", "-1"), ("x", "0")])
def test_external_data_of_the_wrong_size(tmp_path: Path, length: str, offset: str):
    (tmp_path / "w.bin").write_bytes(b"\0" * 36)
    model = external("w.bin", length, offset)
    refused(save(model, tmp_path / "a.onnx"), "does not have the '36' bytes")


def test_external_data_missing(tmp_path: Path):
    refused(save(external("w.bin"), tmp_path / "a.onnx"), "is missing")


def test_names_are_made_and_kept(tmp_path: Path):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="twin"),
        helper.make_node("Relu", ["a"], ["b"], name="twin"),
        helper.make_node("MatMul", ["b", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    model = load(save(small_model(nodes=nodes), tmp_path / "a.onnx"))
    assert [node.name for node in model.graph] == ["twin", "twin_1", "MatMul", "Relu"]


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "${7*7}",
    "__class__",
    "forward",
    "import os; os.system('true')",
    "a\nb",
    "重み",
    "lambda",
    "0",
    "x'); raise SystemExit(",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_text(tmp_path: Path, text: str):
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32), f"{text}.weight")
    nodes = [
        helper.make_node("MatMul", ["x", weight.name], [f"{text}.out"], name=text),
        helper.make_node("Relu", [f"{text}.out"], ["y"], name=f"{text}!"),
    ]
    path = save(small_model(nodes=nodes, weights=[weight]), tmp_path / "a.onnx")
    model = load(path)
    assert [node.name for node in model.graph] == [text, f"{text}!"]
    graph = build(fold(model)[0])
    assert graph.attribute_of[f"{text}.weight"].isidentifier()
    assert torch.equal(graph.module(torch.ones(2, 3))[0], torch.ones(2, 3))
    names = [node.meta.get("onnx_value") for node in graph.module.graph.nodes]
    assert f"{text}.out" in names


def test_unknown_operator_is_named(tmp_path: Path):
    nodes = [helper.make_node("Frobnicate", ["x"], ["y"], name="odd", domain="com.example")]
    model = small_model(nodes=nodes)
    model.opset_import.append(helper.make_opsetid("com.example", 3))
    loaded = load(save(model, tmp_path / "a.onnx"))
    with pytest.raises(OperatorError, match=r"'odd'.*'Frobnicate'.*'com.example'.*'3'"):
        build(loaded)


def test_control_flow_is_read(tmp_path: Path):
    body = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])],
        "b",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    flag = numpy_helper.from_array(np.array(True), "flag")
    node = helper.make_node("If", ["flag"], ["y"], name="fork", then_branch=body, else_branch=body)
    loaded = load(save(small_model(nodes=[node], weights=[flag]), tmp_path / "a.onnx"))
    fork = loaded.graph.node(0)
    assert fork.name == "fork"
    assert [node.op_type for node in fork.attributes["then_branch"].as_graph()] == ["Identity"]


def test_functions_in_a_ring(tmp_path: Path):
    model = small_model(nodes=[helper.make_node("F", ["x"], ["y"], domain="d")])
    model.opset_import.append(helper.make_opsetid("d", 1))
    imports = [helper.make_opsetid("d", 1)]
    for name, other in (("F", "G"), ("G", "F")):
        call = helper.make_node(other, ["a"], ["b"], domain="d")
        model.functions.append(helper.make_function("d", name, ["a"], ["b"], [call], imports))
    refused(save(model, tmp_path / "a.onnx"), "in a ring")


def test_functions_are_inlined(tmp_path: Path):
    model = small_model(nodes=[helper.make_node("F", ["x"], ["y"], domain="d", name="f")])
    model.opset_import.append(helper.make_opsetid("d", 1))
    body = [helper.make_node("Relu", ["a"], ["b"])]
    imports = [helper.make_opsetid("", 21)]
    model.functions.append(helper.make_function("d", "F", ["a"], ["b"], body, imports))
    loaded = load(save(model, tmp_path / "a.onnx"))
    assert [node.op_type for node in loaded.graph] == ["Relu"]


def test_weights_that_are_not_numbers_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    bad = numpy_helper.from_array(np.full((3, 3), np.nan, dtype=np.float32), "w")
    load(save(small_model(weights=[bad]), tmp_path / "a.onnx"))
    assert "'w' holds values that are not finite" in caplog.text


def test_saved_again_it_is_the_same(tmp_path: Path):
    model = load(save(small_model(), tmp_path / "a.onnx"))
    ir.save(model, tmp_path / "b.onnx")
    again = load(tmp_path / "b.onnx")
    assert [node.name for node in again.graph] == [node.name for node in model.graph]
