"""A learned rotation: still the same function, and a better one to quantize."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor

from tests.graph.passes.helpers import normal, same
from tests.graph.passes.test_rotate import REFUSED, WIDTH, network, network_with, tokens
from workbench.foundation.errors import DataError
from workbench.graph.passes.spinquant import Following
from workbench.graph.transforms import measure, transform
from workbench.maths.grid import Granularity, Grid

SPEC = "spinquant:bits=3,activation_bits=4,steps=30,rate=0.5,batch=16"


def batches() -> Iterator[tuple[Tensor, ...]]:
    return iter([(torch.from_numpy(tokens(64)),)])


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return network()


@pytest.fixture(scope="module")
def seen(model: ir.Model) -> dict[str, Tensor]:
    return measure(model, [SPEC], batches)


def test_the_loss_falls_and_the_matrix_is_a_rotation(seen: dict[str, Tensor]) -> None:
    q = seen["spinquant/0"].double()
    assert q.shape == (WIDTH, WIDTH)
    assert float((q @ q.T - torch.eye(WIDTH)).abs().max()) < 1e-6
    before, after = seen["spinquant/loss"].tolist()
    assert after < 0.9 * before


def test_the_float_output_stays(model: ir.Model, seen: dict[str, Tensor]) -> None:
    changed, (record,) = transform(model, [SPEC], seen)
    assert record.count == 2
    before, after = record.measures["KL to the float prediction, nats"]
    assert after < before
    assert same(model, changed, x=tokens()) < 1e-5


def test_the_same_again_with_the_same_seed(model: ir.Model, seen: dict[str, Tensor]) -> None:
    again = measure(model, [SPEC], batches)
    assert all(torch.equal(value, again[name]) for name, value in seen.items())


def test_it_looks_at_data_and_needs_some(model: ir.Model) -> None:
    with pytest.raises(DataError, match="looks at data first"):
        transform(model, [SPEC])
    with pytest.raises(DataError, match="no calibration examples to learn from"):
        measure(model, [SPEC], lambda: iter(()))


def test_without_a_stream_there_is_nothing_to_learn() -> None:
    tail, _ = REFUSED["post-norm"]
    tied = network_with(tail, {})
    assert measure(tied, [SPEC], batches) == {}
    changed, (record,) = transform(tied, [SPEC], {})
    assert "stream left: " in record.detail
    assert same(tied, changed, x=tokens()) < 1e-5


def test_ranges_follow_the_tensor() -> None:
    x = torch.from_numpy(normal(4, 6)).requires_grad_(True)
    quantizer = Following(Grid(4, granularity=Granularity("channel", 0)), (4, 6))
    for factor in (1.0, 10.0):
        found = quantizer(x * factor)
        error = (found - x * factor).abs().amax(1) / (x * factor).abs().amax(1)
        assert bool((error < 1 / 14).all())
    quantizer(x).sum().backward()
    assert x.grad is not None
    assert np.isfinite(x.grad.numpy()).all()
