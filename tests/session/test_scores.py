"""Scores: the sums of a stream equal the definition on the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from workbench.graph import TensorSpec
from workbench.maths import metrics
from workbench.session import stdlib_bytes
from workbench.session.data import open_data
from workbench.session.scores import Comparison, compare

X = TensorSpec("x", ("n", 5), torch.float32)


def floats(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (torch.sin(3 * x),)


def noisy(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (torch.sin(3 * x) + 0.3 * torch.cos(50 * x),)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_streamed_scores_are_those_of_the_whole(size: int):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 5)).astype(np.float32)
    data = open_data((x, rng.integers(0, 5, 50)), [X]).calibrate_on(10)
    found = compare(floats, {"learned": noisy, "onnxruntime": noisy}, data, size)
    (inputs, labels) = next(data.batches("test", 100))
    (wanted,), (got,) = floats(*inputs), noisy(*inputs)
    learned = found["learned"]
    assert learned["examples"] == 40
    assert learned["metric"] == "top-1"
    assert learned["score"] == pytest.approx(100 * float((got.argmax(1) == labels).float().mean()))
    assert learned["agreement"] == pytest.approx(100 * metrics.agreement(wanted, got))
    assert learned["sqnr_db"] == pytest.approx(metrics.sqnr_db(wanted, got), abs=1e-6)
    assert learned["kl"] == pytest.approx(metrics.kl_divergence(wanted, got), rel=1e-6)
    assert found["float"]["agreement"] == 100.0
    assert found["float"]["kl"] == pytest.approx(0.0, abs=1e-12)
    assert found["onnxruntime"]["agreement_with_simulation"] == 100.0


def test_bytes_are_scored_in_bits():
    spec = TensorSpec("tokens", ("n", 6), torch.int64)
    tokens = np.random.default_rng(0).integers(0, 256, (20, 6))
    data = open_data(tokens, [spec]).calibrate_on(4)

    def model(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (functional.one_hot((x * 7) % 256, 256).float(),)

    found = compare(model, {}, data, 3)["float"]
    inputs, _ = next(data.batches("test", 100))
    expected = stdlib_bytes.bits_per_byte(model(*inputs)[0].numpy(), inputs[0].numpy())
    assert found["metric"] == "bits/byte"
    assert found["score"] == pytest.approx(expected)


def test_without_labels_agreement_is_the_score():
    data = open_data(np.random.default_rng(0).standard_normal((20, 5)).astype(np.float32), [X])
    found = compare(floats, {"learned": noisy}, data)["learned"]
    assert found["metric"] == "agreement"
    assert found["score"] == found["agreement"] < 100


def test_a_comparison_needs_no_candidates():
    comparison = Comparison(floats, {}, "none")
    comparison.add((torch.randn(3, 5),), None)
    assert comparison.records()["float"]["sqnr_db"] == metrics.EXACT_DB
