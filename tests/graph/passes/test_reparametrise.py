"""Equal ranges behind a LayerNorm: exact, and as the paper has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.graph.passes.helpers import same
from tests.methods.nets import examples
from tests.methods.transformer import transformer
from workbench.graph.build import build
from workbench.graph.passes.reparametrise import folding
from workbench.graph.taps import capture
from workbench.graph.transforms import measure, transform

TEXTS = ["reparametrise:examples=48"]


def batches():
    return iter([(examples(),)])


@pytest.fixture(scope="module")
def graph():
    return transformer()


@pytest.fixture(scope="module")
def changed(graph):
    seen = measure(graph.model, TEXTS, batches)
    return transform(graph.model, TEXTS, seen)


def test_the_folding_is_an_identity_in_double_precision():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 16, generator=generator, dtype=torch.float64)
    gain = torch.randn(16, generator=generator, dtype=torch.float64).exp()
    offset = torch.randn(16, generator=generator, dtype=torch.float64)
    weight = torch.randn(8, 16, generator=generator, dtype=torch.float64)
    bias = torch.randn(8, generator=generator, dtype=torch.float64)
    plain = torch.nn.functional.layer_norm(rows, (16,))
    x = plain * gain + offset
    r1, shift = folding(x.amin(0), x.amax(0))
    y = plain * (gain / r1) + (offset / r1 + shift)
    moved = weight * r1
    wanted = x @ weight.T + bias
    found = y @ moved.T + (bias - moved @ shift)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 4e-16
    assert torch.allclose(y.amin(0), y.amin().expand(16))
    assert torch.allclose(y.amax(0), y.amax().expand(16))


def test_scale_and_zero_point_become_the_means_of_the_channels():
    """s̃ = mean s, z̃ = mean z, r1 = s / s̃, and X' = (X + s (z - z̃)) / r1."""
    low, high = torch.tensor([-1.0, -4.0, 0.5]), torch.tensor([2.0, 8.0, 1.5])
    s = (high - low).double() / 255
    z = -low.double() / s
    r1, shift = folding(low, high)
    assert torch.allclose(r1, s / s.mean())
    assert torch.allclose(shift, s * (z - z.mean()) / r1)


def test_the_network_gives_what_it_gave(graph, changed):
    model, (record,) = changed
    assert record.count == 2
    assert same(graph.model, model, x=examples(seed=4, count=8).numpy()) < 1e-5


def test_all_channels_have_one_range_afterwards(graph, changed):
    names = ("norm1", "norm2")
    with torch.no_grad():
        before = capture(graph.module, (examples(),), names)
        after = capture(build(changed[0].clone()).module, (examples(),), names)
    for name in names:
        widths = [
            (values.amax((0, 1)) - values.amin((0, 1))) for values in (before[name], after[name])
        ]
        spread = [float(width.max() / width.min()) for width in widths]
        assert spread[0] > 5
        assert spread[1] < 1.2


def test_a_layer_without_bias_gets_one(changed):
    model = changed[0]
    key = next(node for node in model.graph if node.name == "key")
    adder = next(iter(key.outputs[0].uses())).node
    assert adder.op_type == "Add"
    assert np.any(adder.inputs[1].const_value.numpy())


def test_a_norm_that_others_read_too_is_left_alone(graph):
    model = graph.model.clone()
    total = next(node for node in model.graph if node.name == "sum1")
    norm = next(node for node in model.graph if node.name == "norm1")
    total.replace_input_with(0, norm.outputs[0])  # as in networks that normalise after the sum
    found = measure(model, TEXTS, batches)
    assert set(found) == {"reparametrise/norm2"}


def test_no_norm_nothing_to_do():
    from tests.methods.nets import network

    model = network().model
    assert measure(model, TEXTS, batches) == {}
    assert transform(model, TEXTS, {})[1][0].count == 0
