"""Proof by running both models."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from tests.graph.nets import NETS, from_text, settled
from workbench.deploy.proof import fitting_inputs, prove, prove_passes, random_inputs
from workbench.foundation.errors import ModelError
from workbench.graph import TensorSpec, from_module

HEADER = '<ir_version: 10, opset_import: ["" : 21]>'


def model(body: str) -> ir.Model:
    return from_text(f"{HEADER} g (float[n] x) => (float[n] y) {{ {body} }}")


def test_the_difference_is_relative_to_the_largest_output():
    x = torch.tensor([1.0, -4.0])
    assert prove(model("y = Abs(x)"), model("y = Relu(x)"), [x]) == 1.0
    assert prove(model("y = Abs(x)"), model("y = Abs(x)"), [x]) == 0.0
    half = "k = Constant <value_float = 0.5> () h = Mul(x, k) y = Abs(h)"
    assert prove(model("y = Abs(x)"), model(half), [x]) == 0.5


def test_misplaced_infinities_are_infinitely_wrong():
    x = torch.tensor([0.0, 1.0])
    assert prove(model("y = Reciprocal(x)"), model("y = Reciprocal(x)"), [x]) == 0.0
    assert prove(model("y = Abs(x)"), model("y = Reciprocal(x)"), [x]) == np.inf
    assert prove(model("y = Reciprocal(x)"), model("y = Abs(x)"), [x]) == np.inf


def test_every_pass_that_did_something_has_its_difference():
    network = from_module(settled(NETS["conv"][0]()), (torch.randn(1, 3, 16, 16),))
    records = prove_passes(network, [torch.randn(2, 3, 16, 16)], ["equalize"])
    measured = {r.name: r.max_difference for r in records if r.max_difference is not None}
    assert set(measured) == {r.name for r in records if r.count}
    assert 0 < measured["batch norms folded"] < 1e-5
    assert measured["paddings folded"] < 1e-5
    assert measured["pairs equalized"] < 1e-5


def test_a_pass_that_changes_the_function_is_found_out():
    clipped = model(
        "low = Constant <value_float = 0.0> () high = Constant <value_float = 6.0> () "
        "y = Clip(x, low, high)"
    )
    *_, last = prove_passes(clipped, [torch.tensor([9.0, 1.0])], ["relu6-to-relu"])
    assert last.max_difference == 0.5


def test_random_inputs_fit_their_types():
    specs = (
        TensorSpec("a", ("batch", 3), torch.float32),
        TensorSpec("b", ("batch", None), torch.int64),
        TensorSpec("c", (4,), torch.bool),
    )
    a, b, c = random_inputs(specs)
    assert (a.shape, b.shape, c.shape) == ((2, 3), (2, 8), (4,))
    assert (a.dtype, b.dtype, c.dtype) == (torch.float32, torch.int64, torch.bool)
    assert set(b.flatten().tolist()) <= {0, 1}
    assert torch.equal(random_inputs(specs)[0], a)
    with pytest.raises(ModelError, match="input 'z' is of type"):
        random_inputs((TensorSpec("z", (1,), torch.complex64),))


def test_sizes_are_tried_until_the_model_runs():
    network = model("k = Constant <value_ints = [48]> () y = Reshape(x, k)")
    network.graph.inputs[0].shape = ir.Shape([None, None])
    assert fitting_inputs(network, [TensorSpec("x", (1, -1), torch.float32)])[0].shape == (1, 48)
    with pytest.raises(ModelError, match="does not run on random numbers for its inputs 'x'"):
        fitting_inputs(network, [TensorSpec("x", ("batch", None), torch.float32)])
