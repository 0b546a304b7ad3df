"""Time by node: kernels under the names of the file."""

from __future__ import annotations

import json

import onnx
import onnx_ir as ir
import pytest

from tests.deploy import saturating, small
from workbench.deploy.export import export
from workbench.deploy.profile import LAYOUT, Latency, NodeTime, Profile, _layer_before, profile
from workbench.foundation.errors import ExportError
from workbench.graph import load
from workbench.graph.build import build


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A float file with two convolutions and its export."""
    folder = tmp_path_factory.mktemp("files")
    model = small.two_convolutions()
    onnx.save(ir.to_proto(model), folder / "float.onnx")
    graph = build(model)
    quantized = export(small.quantize(graph, 8, 8), folder / "quantized.onnx").path
    return folder / "float.onnx", quantized, small.inputs_of(graph, 1)


@pytest.fixture(scope="module")
def found(files):
    return profile(*files, repeats=3)


def test_layers_are_found_by_their_names(found):
    nodes = {node.name: node for node in found.nodes}
    assert {"first", "second", "head"} <= set(nodes)
    assert nodes["first"].kernel == "QLinearConv"
    assert nodes["first"].kind == "integer"
    assert nodes["first"].op == "Conv"
    assert nodes["first"].float_ms is not None
    assert found.float_layers == []
    assert all(node.ms >= 0 for node in found.nodes)
    assert found.latency.threads == 1


def test_bytes_are_those_in_the_file(found):
    nodes = {node.name: node for node in found.nodes}
    weight = small.IN * 3 * 3 * 3
    assert nodes["first"].float_bytes == 4 * (weight + small.IN)
    # codes, scale and zero-point of each channel; codes, scale and no zero-point of the bias
    assert nodes["first"].bytes == weight + 5 * small.IN + 8 * small.IN


def test_shares_add_up(found):
    kinds = ("integer", "float", "conversion", "layout")
    assert sum(found.share(kind) for kind in kinds) == pytest.approx(1.0)
    assert found.share("conversion") > 0
    assert found.kernels_ms == pytest.approx(sum(node.ms for node in found.nodes))


def test_records_are_json(found):
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert record["latency"]["threads"] == 1
    assert record["nodes"][0]["kind"] == "conversion"
    assert "3 of 3 layers in integer kernels" in found.sentence()
    assert "(1 thread, 3 calls)" in found.sentence()


def test_layers_that_stay_float_are_named(tmp_path, files):
    graph = build(small.two_convolutions())
    path = export(small.quantize(graph, 4), tmp_path / "m.onnx").path
    found = profile(files[0], path, files[2], repeats=2)
    assert {"first", "second"} <= set(found.float_layers)


def test_files_of_other_tools(tmp_path):
    found = profile(*saturating.files(tmp_path), (saturating.data(2),), repeats=2)
    kernels = {node.name: node.kernel for node in found.nodes}
    assert kernels["first"].startswith(("QLinearMatMul", "MatMulInteger"))
    assert found.float_layers == []


def test_a_layer_is_found_behind_what_it_took_in(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(ir.to_proto(small.two_convolutions()), path)
    nodes = {node.name: node for node in load(path).graph}
    assert _layer_before(nodes["relu6"]) == "first"
    assert _layer_before(nodes["pool"]) == "second"


def test_no_repeats_is_an_error(files):
    with pytest.raises(ExportError, match="at least once"):
        profile(*files, repeats=0)


def test_what_was_inserted_is_told_apart():
    layout = NodeTime(LAYOUT, "", "Transpose", "layout", 1.0, None, 0, None)
    layer = NodeTime("a", "Conv", "Conv", "float", 3.0, 3.0, 8, 8)
    found = Profile((layer, layout), Latency(3.0, 4.0, 1, 2), 3.0)
    assert found.share("layout") == 0.25
    assert found.float_layers == ["a"]
    assert "0 of 1 layers" in found.sentence()
    assert "2 threads" in found.sentence()
