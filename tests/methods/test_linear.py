"""Layers as matrices: rows times the matrix give the layer's output."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from workbench.graph import build
from workbench.graph.ops.convolution import conv, conv_transpose
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Layer, Weight
from workbench.graph.targets import WeightGrid, target
from workbench.maths.patches import Places
from workbench.methods import linear
from workbench.methods.base import Task
from workbench.methods.linear import LinearView, views
from workbench.methods.registry import make

SHAPES = [
    (4, 6, (3, 3), 2, [2, 2], [1, 1], [1, 1], (9, 11)),
    (8, 8, (3, 5), 8, [1, 2], [1, 2], [2, 1], (12, 13)),
    (3, 5, (7,), 1, [3], [2], [1], (40,)),
    (4, 6, (1, 1), 1, [1, 1], [0, 0], [1, 1], (5, 5)),
    (4, 4, (2, 2, 2), 2, [1, 1, 1], [0, 0, 0], [1, 1, 1], (4, 5, 6)),
]


def conv_view(weight: torch.Tensor, **kwargs: object) -> LinearView:
    layer = Layer(
        "conv", "Conv", (Weight("w", 1, 0, 1, tuple(weight.shape)),), None, None, "x", "y", 0, 0
    )
    return views(layer, SimpleNamespace(kwargs=kwargs))[0]


@pytest.mark.parametrize("case", SHAPES, ids=str)
def test_patches_times_matrix_is_the_convolution(case) -> None:
    inputs, outputs, kernel, groups, strides, pads, dilations, size = case
    weight = torch.randn(outputs, inputs // groups, *kernel)
    x = torch.randn(2, inputs, *size)
    view = conv_view(weight, group=groups, strides=strides, pads=pads * 2, dilations=dilations)
    rows = view.rows([x], 10**6, Places())
    ours = torch.einsum("gnk,gok->ngo", rows, view.matrix(weight)).reshape(-1, outputs)
    function = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}[len(kernel)]
    theirs = function(x, weight, None, strides, pads, dilations, groups)
    assert torch.allclose(ours, theirs.movedim(1, -1).reshape(-1, outputs), atol=1e-4)
    assert torch.equal(view.tensor(view.matrix(weight)), weight)


def test_few_positions_are_a_subset_of_all() -> None:
    weight, x = torch.randn(6, 4, 3, 3), torch.randn(3, 4, 40, 40)
    view = conv_view(weight)
    some = view.rows([x], 50, Places(1))[0]
    every = view.rows([x], 10**6, Places(1))[0]
    assert 36 <= len(some) / 3 <= 60
    assert bool((torch.cdist(some, every).amin(1) < 0.05).all())


def test_few_rows_of_sequences_lie_at_every_place_whatever_the_batches() -> None:
    """A step that divides the length of a sequence, and examples that know their places."""
    held = (Weight("w", 1, 1, 0, (6, 1)),)
    layer = Layer("product", "Gemm", held, None, None, "x", "y", 0, 0)
    (view,) = views(layer, SimpleNamespace(kwargs={}))
    x = torch.arange(32.0).repeat(40, 1)[..., None]
    rows = view.rows([x], 8, Places())[0]
    assert len(rows) == 40 * 8
    assert set(rows.flatten().tolist()) == set(range(32))
    parts = [view.rows([x[:7]], 8, Places())[0], view.rows([x[7:]], 8, Places(0, 7))[0]]
    assert torch.equal(torch.cat(parts), rows)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 2])
def test_pads_worked_out_from_the_input_are_followed(auto_pad: str, stride: int) -> None:
    weight, x = torch.randn(6, 4, 3, 2), torch.randn(2, 4, 9, 12)
    view = conv_view(weight, strides=[stride] * 2, auto_pad=auto_pad)
    assert view.exact
    rows = view.rows([x], 10**6, Places())
    theirs = conv(x, weight, strides=[stride] * 2, auto_pad=auto_pad)
    ours = torch.einsum("gnk,gok->ngo", rows, view.matrix(weight)).reshape(-1, 6)
    assert torch.allclose(ours, theirs.movedim(1, -1).reshape(-1, 6), atol=1e-4)


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 2]},
        {"strides": [2, 3], "pads": [1, 0, 1, 1], "output_padding": [1, 2]},
        {"dilations": [2, 1], "auto_pad": "VALID"},
    ],
    ids=str,
)
def test_transposed_convolutions_have_rows_too(attributes) -> None:
    weight, x = torch.randn(4, 5, 3, 2), torch.randn(2, 4, 6, 7)
    held = (Weight("w", 1, 1, 0, tuple(weight.shape)),)
    layer = Layer("up", "ConvTranspose", held, None, None, "x", "y", 0, 0)
    (view,) = views(layer, SimpleNamespace(kwargs=attributes))
    assert view.exact
    rows = view.rows([x], 10**6, Places())[0]
    theirs = conv_transpose(x, weight, **attributes)
    ours = rows @ view.matrix(weight)[0].T
    assert torch.allclose(ours, theirs.movedim(1, -1).reshape(-1, 5), atol=1e-4)
    assert torch.equal(view.tensor(view.matrix(weight)), weight)
    grouped = SimpleNamespace(kwargs={**attributes, "group": 2})
    assert not views(layer, grouped)[0].exact


def test_parts_are_the_rows_of_some_examples_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    view, x = conv_view(torch.randn(6, 4, 3, 3)), torch.randn(5, 4, 9, 9)
    whole = view.rows([x], 10**6, Places())
    monkeypatch.setattr(linear, "PART", whole[0].numel())
    parts = list(view.parts([x], 10**6, Places()))
    assert len(parts) > 1
    assert torch.equal(torch.cat(parts, dim=1), whole)


@pytest.mark.parametrize("size", [(9, 9), (40, 40)], ids=str)
def test_rows_of_an_example_are_the_same_in_any_batch(size: tuple[int, int]) -> None:
    view, x = conv_view(torch.randn(6, 4, 3, 3), pads=[1] * 4), torch.randn(11, 4, *size)
    whole = view.rows([x], 100, Places(3))
    first, second = (view.rows([part], 100, Places(3, at)) for part, at in ((x[:6], 0), (x[6:], 6)))
    assert torch.equal(torch.cat([first, second], dim=1), whole)


def test_rows_of_a_sequence_are_the_same_in_any_batch() -> None:
    weight = Weight("w", 1, 1, 0, (5, 3))
    (view,) = views(
        Layer("mix", "MatMul", (weight,), None, None, "x", "y", 0, 0), SimpleNamespace()
    )
    x = torch.randn(10, 7, 5)
    whole = view.rows([x, None], 2, Places())
    pieces = [view.rows([x[at : at + 3], None], 2, Places(0, at)) for at in range(0, 10, 3)]
    assert whole.shape == (1, 24, 5)
    assert torch.equal(torch.cat(pieces, dim=1), whole)


def test_a_recurrence_with_one_output_has_states_too() -> None:
    """Where nothing reads the last state, the node gives one tensor instead of two."""
    generator = np.random.default_rng(2)
    held = {
        name: generator.standard_normal(shape).astype(np.float32) * 0.4
        for name, shape in (("w", (1, 12, 5)), ("r", (1, 12, 4)))
    }
    node = helper.make_node("GRU", ["x", "w", "r"], ["states"], "gru", hidden_size=4)
    kinds = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [6, "batch", 5]), ("states", [6, 1, "batch", 4]))
    ]
    stored = [numpy_helper.from_array(value, name) for name, value in held.items()]
    graph = helper.make_graph([node], "one", kinds[:1], kinds[1:], stored)
    opset = [helper.make_opsetid("", 21)]
    built = build(ir.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=10)))
    model = QuantizedGraph(
        built, target("weight-only").sites(built, WeightGrid(bits=8), None, edges=None)
    )
    x = torch.randn(6, 3, 5)
    task = Task(lambda: iter([(x,)]), 3)
    list(make("gptq", {}).learn(model, task))
    weight = model.original("r")
    learned = model.quantizer("r")(model.weight("r"))
    assert float((learned - weight).detach().norm() / weight.norm()) < 0.02
