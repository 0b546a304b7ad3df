"""Every kind of layer, width, granularity and store: the runtime reads the very same values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.deploy import small
from workbench.deploy.export import export
from workbench.deploy.runtime import open_session, run, with_outputs

GRANULARITIES = ("tensor", "channel", "group")


@pytest.mark.parametrize("bits", range(2, 9), ids=lambda bits: f"{bits}bit")
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("kind", small.KINDS)
def test_runtime_reads_the_frozen_weights(kind, granularity, bits, tmp_path):
    graph = small.graph_of(kind)
    model = small.quantize(graph, bits, granularity=granularity)
    for store in ("packed", "int8"):
        path = export(model, tmp_path / f"{store}.onnx", store=store).path
        for count in (1, 3):
            assert_weights_equal(path, model, small.inputs_of(graph, count))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 7, 8])
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_zero_points_survive(granularity, bits, symmetric, tmp_path):
    graph = small.graph_of("matmul")
    model = small.quantize(graph, bits, granularity=granularity, symmetric=symmetric)
    path = export(model, tmp_path / "m.onnx").path
    assert_weights_equal(path, model, small.inputs_of(graph, 2))


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("kind", ["conv", "matmul", "gemm-b", "gru"])
def test_two_bit_containers(kind, granularity, bits, tmp_path):
    graph = small.graph_of(kind)
    model = small.quantize(graph, bits, granularity=granularity, symmetric=bits > 1)
    exported = export(model, tmp_path / "m.onnx", opset=25)
    assert exported.opset == 25
    assert_weights_equal(exported.path, model, small.inputs_of(graph, 3))


@pytest.mark.parametrize("store", ["packed", "int8"])
@pytest.mark.parametrize("activations", [2, 3, 4, 5, 6, 7, 8, 11, 16])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "transposed", "gemm", "gemm-b", "matmul"])
def test_activation_codes_equal_the_simulation(kind, activations, store, tmp_path):
    graph = small.graph_of(kind)
    model = small.quantize(graph, 4, activations)
    path = export(model, tmp_path / "m.onnx", store=store).path
    session = open_session(with_outputs(path, ["x__q"]), optimise=False)
    for count in (1, 3):
        (x,) = small.inputs_of(graph, count, seed=4)
        got = run(session, (2 * x,))  # beyond the calibrated range, so that clipping shows
        expected = model.quantizer("x").codes(2 * x).numpy()
        np.testing.assert_array_equal(got["x__q"].astype(np.float32), expected)
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(got["y"]), model(2 * x)[0])


@pytest.mark.parametrize("activations", [4, 8, 16])
def test_optimised_sessions_load_with_two_bit_weights(activations, tmp_path):
    """int2 beside 8-bit data would make ONNX Runtime build a kernel that refuses it."""
    graph = small.graph_of("conv")
    exported = export(small.quantize(graph, 2, activations), tmp_path / "m.onnx", opset=25)
    assert run(open_session(exported.path), small.inputs_of(graph, 2))["y"].any()
    assert any("2-bit weights lie in 4-bit" in note for note in exported.notes)


def assert_weights_equal(path, model, inputs):
    names = {site.name: f"{site.tensor}__dq" for site in model.of_kind("weight")}
    got = run(open_session(with_outputs(path, list(names.values())), optimise=False), inputs)
    for name, frozen in model.frozen().items():
        assert frozen.values().any()
        np.testing.assert_array_equal(got[names[name]], frozen.values().numpy())
    assert got["y"].shape[1 if "r" in names else 0] > 0
    assert run(open_session(path), inputs)["y"].shape == got["y"].shape
