"""QLoRA: only the corrections move, they mend what was lost, and the file holds them."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import examples, quantized
from tests.methods.transformer import transformer
from workbench.deploy.export import export
from workbench.deploy.restore import restore
from workbench.deploy.verify import verify
from workbench.foundation.errors import RecipeError
from workbench.graph.build import Graph, build
from workbench.graph.corrections import is_correction
from workbench.graph.load import load
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import WeightGrid, target
from workbench.graph.transforms import transform
from workbench.maths.metrics import kl_divergence
from workbench.methods.base import Task
from workbench.methods.registry import make
from workbench.quantizers.codes import Codes

OPTIONS = {"epochs": 3, "learning_rate": 1e-2, "batch_size": 16, "temperature": 1.0}


@pytest.fixture(scope="module")
def graph() -> Graph:
    return build(transform(transformer().model, ["low_rank:rank=4"])[0])


def learn(model: QuantizedGraph, name: str, options: dict | None = None) -> list:
    x = examples(count=192)
    task = Task(lambda: ((part,) for part in x.split(64)), len(x))
    return list(make(name, options or {}).learn(model, task))


def loss(model: QuantizedGraph) -> float:
    """KL of the predictions on other examples; all logits may be shifted alike."""
    x = examples(seed=9, count=200)
    with torch.no_grad():
        return kl_divergence(transformer().module(x)[0], model(x)[0])


@pytest.mark.parametrize("base", ["rtn", "gram"])
def test_it_mends_what_the_codes_lost_and_moves_nothing_else(graph, base: str) -> None:
    model = quantized(graph, 2, None)
    learn(model, base)
    before, values = loss(model), {n: v.clone() for n, v in model.float_parameters().items()}
    codes = {n: frozen.codes.clone() for n, frozen in model.frozen().items()}
    events = learn(model, "qlora", OPTIONS)
    assert loss(model) < 0.8 * before
    losses = [event.values["loss"] for event in events if event.kind == "layer"]
    assert losses[-1] < losses[0]
    assert not [event.text for event in events if event.concern == "dead"]
    for name, value in model.float_parameters().items():
        assert torch.equal(value, values[name]) != is_correction(name), name
    for name, frozen in model.frozen().items():
        assert torch.equal(frozen.codes, codes[name]), name
        assert isinstance(model.quantizer(name), Codes)
    x = examples()
    assert torch.equal(graph.module(x)[0], transformer().module(x)[0])  # the teacher


def test_without_corrections_it_says_how_to_get_them() -> None:
    with pytest.raises(RecipeError, match="add --transform low_rank:rank=8"):
        learn(quantized(transformer(), 2, None), "qlora", OPTIONS)


@pytest.mark.parametrize("activations", [None, 8])
def test_the_file_runs_as_simulated_and_opens_again(graph, activations, tmp_path) -> None:
    model = quantized(graph, 4, activations)
    learn(model, "rtn")
    learn(model, "qlora", {**OPTIONS, "epochs": 1})
    path = export(model, tmp_path / "m.onnx").path
    found = verify(path, model, [(part,) for part in examples(1).split(24)])
    assert found.modes[0].verdict == "equal", found.sentence()  # MatMulNBits rounds its input
    again = restore(load(path)).quantized()
    x = examples(2)
    with torch.no_grad():
        assert torch.equal(model(x)[0], again(x)[0])
    other = quantized(graph, 4, activations)
    other.load_state(model.state())
    with torch.no_grad():
        assert torch.equal(model(x)[0], other(x)[0])


def test_normal_levels_in_groups_are_a_base_too(graph, tmp_path) -> None:
    request = WeightGrid(bits=4, granularity="group", group_size=8, table="nf4")
    model = QuantizedGraph(graph, target("weight-only").sites(graph, request, None, edges=None))
    learn(model, "rtn")
    before = loss(model)
    learn(model, "qlora", OPTIONS)
    assert loss(model) < before
    found = verify(export(model, tmp_path / "m.onnx").path, model, [(examples(1),)])
    assert found.modes[0].verdict == "equal", found.sentence()


def test_the_corrections_count_in_the_size(graph, tmp_path) -> None:
    sizes = []
    for held in (graph, transformer()):
        model = quantized(held, 4, None)
        learn(model, "rtn")
        sizes.append(export(model, tmp_path / "m.onnx").bytes)
    values = quantized(graph).float_parameters()
    numbers = sum(value.numel() for name, value in values.items() if is_correction(name))
    assert sizes[0] - sizes[1] > 4 * numbers > 0
