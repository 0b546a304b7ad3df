"""Every kind of layer is read, rescaled and written back in one form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.graph.nets import from_text
from tests.graph.passes.helpers import HEADER, fill, normal, outputs
from workbench.graph.passes.linear import Linear, linear
from workbench.graph.passes.shapes import infer_shapes

LAYERS = {
    "conv": ("Conv <group = 2, dilations = [2, 1]> (x, w, b)", (6, 2, 3, 2), (2, 4, 7, 7), 1),
    "transposed": ("ConvTranspose <group = 2> (x, w, b)", (4, 3, 2, 2), (2, 4, 5, 5), 1),
    "gemm": ("Gemm <alpha = 0.5, beta = 3.0> (x, w, b)", (4, 6), (3, 4), 1),
    "gemm across": ("Gemm <transB = 1> (x, w, b)", (6, 4), (3, 4), 1),
    "matmul": ("MatMul(x, w)", (4, 6), (2, 3, 4), 2),
    "matmul left": ("MatMul(w, x)", (6, 4), (2, 4, 3), 1),
}


def made(case: str) -> tuple:
    call, weight, size, axis = LAYERS[case]
    sizes = ",".join(map(str, size))
    model = from_text(
        f"{HEADER} g (float[{sizes}] x) => (float[{','.join('abcd'[: len(size)])}] y) "
        f"{{ z = Identity(x) h = {call} y = Relu(h) }}".replace("z = Identity(x) ", "")
    )
    arrays = {"w": normal(*weight)}
    if "b)" in call:
        arrays["b"] = normal(6, seed=1)
    fill(model, **arrays)
    infer_shapes(model)
    model.graph.outputs[0] = model.graph.node(0).outputs[0]
    model.graph.remove(model.graph.node(1))
    return model, normal(*size, seed=2), axis


def layer_of(model) -> Linear:
    layer = linear(model.graph.node(0))
    assert layer is not None
    return layer


@pytest.mark.parametrize("case", LAYERS)
def test_outputs_scale_and_shift_by_channel(case: str):
    model, x, axis = made(case)
    (before,) = outputs(model, x=x)
    layer = layer_of(model)
    assert layer.output_axis == axis
    a, c = torch.arange(1.0, 7.0).double(), torch.linspace(-2, 2, 6).double()
    layer.scale_outputs(a)
    layer.bias = layer.bias + c
    layer.write(model.graph)
    shape = [-1 if i == axis else 1 for i in range(before.ndim)]
    wanted = before * a.numpy().reshape(shape) + c.numpy().reshape(shape)
    assert np.abs(outputs(model, x=x)[0] - wanted).max() < 1e-4


@pytest.mark.parametrize("case", LAYERS)
def test_inputs_scale_by_channel(case: str):
    model, x, axis = made(case)
    layer = layer_of(model)
    assert layer.input_axis == axis
    factors = torch.tensor([0.5, 1.0, 2.0, -3.0]).double()
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    scaled = (x * factors.numpy().reshape(shape)).astype(np.float32)
    (wanted,) = outputs(model, x=scaled)
    layer.scale_inputs(factors)
    layer.write(model.graph)
    assert np.abs(outputs(model, x=x)[0] - wanted).max() < 1e-4


@pytest.mark.parametrize("case", [name for name in LAYERS if name != "transposed"])
def test_response_is_what_a_constant_input_adds(case: str):
    model, x, axis = made(case)
    c = np.array([0.5, -1.0, 2.0, 3.0], np.float32)
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    gap = outputs(model, x=x + c.reshape(shape))[0] - outputs(model, x=x)[0]
    response = layer_of(model).response(torch.from_numpy(c).double()).numpy()
    assert np.abs(gap - response.reshape(shape)).max() < 1e-4


REFUSED = {
    "transposed data": ("Gemm <transA = 1> (x, w)", (3, 6)),
    "weights in a batch": ("MatMul(x, w)", (2, 4, 6)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_channels_of_its_own_is_no_layer(case: str):
    call, weight = REFUSED[case]
    model = from_text(f"{HEADER} g (float[3,4] x) => (float[a,b] y) {{ y = {call} }}")
    fill(model, w=normal(*weight))
    assert linear(model.graph.node(0)) is None
