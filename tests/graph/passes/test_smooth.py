"""SmoothQuant and AWQ: the papers' numbers, and that they help where they promise to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.graph.nets import from_text
from tests.graph.passes.helpers import HEADER, fill, normal, same
from workbench.foundation.errors import DataError
from workbench.graph import capture, fold
from workbench.graph.build import build
from workbench.graph.passes.awq import RATIOS, AwqOptions, importance, output_error
from workbench.graph.passes.smooth import smoothing
from workbench.graph.transforms import measure, transform
from workbench.maths.grid import Granularity, Grid

C = 16


def outlying():
    """A normalization with a loud channel in front of two layers, and rows for it."""
    text = (
        f"{HEADER} g (float[n,16] x) => (float[n,8] y) {{ "
        "n = LayerNormalization <axis = -1> (x, g, o) a = MatMul(n, w1) b = MatMul(n, w2) "
        "y = Add(a, b) }"
    )
    gain = np.ones(C, np.float32)
    gain[3] = 40.0
    arrays = {"g": gain, "o": normal(C), "w1": normal(C, 8, seed=1), "w2": normal(C, 8, seed=2)}
    return fold(fill(from_text(text), **arrays))[0], torch.from_numpy(normal(200, C, seed=5))


def test_smoothing_in_numbers():
    peaks, weights = torch.tensor([16.0, 1.0]), torch.tensor([0.25, 1.0])
    s = smoothing(peaks, weights, 0.5)
    assert s.tolist() == [8.0, 1.0]
    assert (peaks / s).tolist() == [2.0, 1.0]
    assert (weights * s).tolist() == [2.0, 1.0]


def test_the_strength_goes_from_all_to_activations_to_all_to_weights():
    peaks, weights = torch.tensor([16.0, 1.0]), torch.tensor([0.25, 1.0])
    assert (weights * smoothing(peaks, weights, 0.0)).tolist() == [1.0, 1.0]
    assert (peaks / smoothing(peaks, weights, 1.0)).tolist() == [1.0, 1.0]


def test_channels_where_nothing_passes_are_left_alone():
    assert smoothing(torch.tensor([0.0, 5.0]), torch.tensor([1.0, 0.0])).tolist() == [1.0, 1.0]


def test_importance_in_numbers():
    assert importance(torch.tensor([4.0, 1.0, 0.25]), 0.5).tolist() == [2.0, 1.0, 0.5]
    assert importance(torch.tensor([4.0, 1.0, 0.25]), 0.0).tolist() == [1.0, 1.0, 1.0]


@torch.no_grad()
def test_after_smoothing_activations_and_weights_share_the_range():
    model, rows = outlying()
    seen = measure(model, ["smooth"], lambda: iter([(rows,)]))
    changed, (record,) = transform(model, ["smooth"], seen)
    assert record.count == 1
    before = capture(build(model).module, (rows,), {"n"})["n"].abs().amax(0)
    after = capture(build(changed).module, (rows,), {"n"})["n"].abs().amax(0)
    weights = [changed.graph.initializers[name].const_value.numpy() for name in ("w1", "w2")]
    peaks = np.abs(np.concatenate(weights, axis=1)).max(1)
    assert before.max() / before.median() > 20
    assert after.max() / after.median() < 8
    assert np.allclose(peaks, after.numpy(), rtol=1e-4)  # α = 0.5: equal ranges
    assert same(model, changed, x=rows.numpy()) < 1e-5


@torch.no_grad()
def test_awq_finds_the_ratio_of_least_error():
    model, rows = outlying()
    seen = measure(model, ["awq:bits=3"], lambda: iter([(rows,)]))["awq/n"]
    x = capture(build(model).module, (rows,), {"n"})["n"]
    second, mean = x.T @ x / len(x), x.abs().mean(0)
    grid = AwqOptions(bits=3).grid()
    weights = [
        torch.from_numpy(model.graph.initializers[name].const_value.numpy()).T.contiguous()
        for name in ("w1", "w2")
    ]
    errors = {
        step: sum(output_error(w, importance(mean, step / RATIOS), second, grid) for w in weights)
        for step in range(RATIOS)
    }
    best = min(errors, key=errors.__getitem__)
    assert best > 0
    assert torch.allclose(seen, importance(mean, best / RATIOS), rtol=1e-4)
    assert errors[best] < 0.95 * errors[0]


def test_output_error_is_that_of_the_outputs():
    weight, factors = torch.randn(5, C), torch.rand(C) + 0.5
    x = torch.randn(300, C)
    grid = Grid(3, granularity=Granularity("channel", 0), narrow=True)
    scaled = weight * factors
    step = scaled.abs().amax(1, keepdim=True) / 3
    rounded = (scaled / step).round().clamp(-3, 3) * step / factors
    wanted = (x @ (rounded - weight).T).square().sum(1).mean()
    got = output_error(weight, factors, x.T @ x / len(x), grid)
    assert got == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.parametrize("text", ["smooth", "awq"])
def test_without_examples_there_is_nothing_to_measure(text: str):
    model, _ = outlying()
    with pytest.raises(DataError, match="there are no calibration examples to look at"):
        measure(model, [text], lambda: iter([]))
    with pytest.raises(DataError, match=f"transform '{text}' looks at data first"):
        transform(model, [text])


def test_no_more_examples_are_read_than_asked_for():
    model, rows = outlying()
    read = []

    def batches():
        for part in rows.split(10):
            read.append(len(part))
            yield (part,)

    measure(model, ["smooth:examples=25"], batches)
    assert sum(read) == 30
