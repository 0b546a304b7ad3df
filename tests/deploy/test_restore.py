"""An exported file opened again: the same simulation, and the same file."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from tests.deploy import small
from workbench.deploy.export import export
from workbench.deploy.metadata import REMOVED, SITES, annotate, site_of, site_record
from workbench.deploy.restore import is_exported, restore
from workbench.foundation.errors import ModelError
from workbench.graph.build import build
from workbench.graph.load import load

CASES = [
    ("conv", {"bits": 8, "activations": 8}),
    ("depthwise", {"bits": 5, "activations": 6}),
    ("transposed", {"bits": 4}),
    ("gemm", {"bits": 8, "activations": 16}),
    ("gemm-b", {"bits": 2, "granularity": "group"}),
    ("matmul", {"bits": 4, "symmetric": False, "granularity": "group"}),
    ("matmul", {"bits": 4, "table": "nf4", "granularity": "group"}),
    ("conv", {"bits": 3, "table": "kmeans"}),
    ("gemm", {"bits": 8, "table": "float8e4m3fn"}),
    ("gru", {"bits": 2, "table": "balanced", "granularity": "tensor"}),
]


@pytest.mark.parametrize(("kind", "options"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_restored_file_computes_and_exports_the_same(kind, options, tmp_path):
    graph = small.graph_of(kind)
    model = small.quantize(graph, **options)
    path = export(model, tmp_path / "first.onnx").path
    again = restore(load(path)).quantized()
    inputs = small.inputs_of(graph, 3)
    with torch.no_grad():
        assert torch.equal(model(*inputs)[0], again(*inputs)[0])
    assert_same_frozen(model.frozen(), again.frozen())
    second = export(again, tmp_path / "second.onnx").path
    assert second.read_bytes() == path.read_bytes()


def assert_same_frozen(ours, theirs):
    assert list(ours) == list(theirs)
    for name, frozen in ours.items():
        other = theirs[name]
        assert frozen.grid == other.grid
        assert torch.equal(frozen.scale, other.scale)
        assert torch.equal(frozen.zero_point, other.zero_point)
        if frozen.codes is not None:
            assert torch.equal(frozen.codes, other.codes)
            assert torch.equal(frozen.values(), other.values())


def test_nodes_that_quantization_removed_come_back(tmp_path):
    graph = build(small.two_convolutions())
    model = small.quantize(graph, 8, 5)
    path = export(model, tmp_path / "m.onnx").path
    restored = restore(load(path))
    assert [node.name for node in restored.model.graph] == [n.name for n in graph.model.graph]
    inputs = small.inputs_of(graph, 2)
    again = restored.quantized()
    with torch.no_grad():
        assert torch.equal(model(*inputs)[0], again(*inputs)[0])
    second = export(again, tmp_path / "again.onnx").path
    assert_same_tensors(path, second)


def assert_same_tensors(path, other):
    left, right = (
        {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(p).graph.initializer}
        for p in (path, other)
    )
    assert left.keys() == right.keys()
    assert all(np.array_equal(left[name], right[name]) for name in left)


def test_changed_biases_are_restored_onto_the_float_model(tmp_path):
    graph = build(small.two_convolutions())
    model = small.quantize(graph, 4)
    with torch.no_grad():
        model.parameter("b1").add_(1.5)
    path = export(model, tmp_path / "m.onnx").path
    again = restore(load(path)).quantized(graph)
    assert torch.equal(again.parameter("b1"), model.parameter("b1"))
    assert torch.equal(again.weight("w1"), model.weight("w1"))  # the source's own float weights
    inputs = small.inputs_of(graph, 2)
    with torch.no_grad():
        assert torch.equal(model(*inputs)[0], again(*inputs)[0])


def test_a_model_that_leads_to_other_sites_is_refused(tmp_path):
    path = export(small.quantize(small.graph_of("gemm"), 4), tmp_path / "m.onnx").path
    other = small.quantize(small.graph_of("gemm-b"), 4)
    with pytest.raises(ModelError, match="other quantizers than the file has, at 'w'"):
        restore(load(path)).fill(other)


def test_sites_survive_as_json():
    for site in small.quantize(small.graph_of("conv"), 4, 8).sites.values():
        assert site_of(json.loads(json.dumps(site_record(site)))) == site


@pytest.mark.parametrize("broken", ["{", "[7]", '[{"name": "w"}]', '{"a": 1}', "[" * 9000])
def test_damaged_metadata_is_one_sentence(broken, tmp_path):
    path = export(small.quantize(small.graph_of("gemm"), 4), tmp_path / "m.onnx").path
    annotate(path, {SITES: broken})
    with pytest.raises(ModelError, match="export it again"):
        restore(load(path))


@pytest.mark.parametrize("record", [["n", "Relu", [], "y"], ["n", "Relu", [""], "y"], ["n"], 7])
def test_a_damaged_record_of_a_removed_node_is_one_sentence(record, tmp_path):
    path = export(small.quantize(small.graph_of("gemm"), 4), tmp_path / "m.onnx").path
    annotate(path, {REMOVED: json.dumps([record])})
    with pytest.raises(ModelError, match="metadata about removed nodes is damaged"):
        restore(load(path))


@pytest.mark.parametrize("lost", ["w__scale", "w__q"])
def test_a_lost_tensor_is_named(lost, tmp_path):
    path = export(small.quantize(small.graph_of("gemm"), 4), tmp_path / "m.onnx").path
    model = load(path)
    model.graph.initializers[lost].name = "other"
    with pytest.raises(ModelError, match=f"lacks the tensor '{lost}'"):
        restore(model)


def test_float_models_are_not_mistaken_for_exported_ones():
    assert not is_exported(small.one_layer("gemm"))
    assert is_exported(ir.from_proto(onnx.ModelProto(
        ir_version=10,
        graph=onnx.GraphProto(name="g"),
        metadata_props=[onnx.StringStringEntryProto(key=SITES, value="[]")],
    )))  # fmt: skip
