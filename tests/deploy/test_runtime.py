"""Sessions, fetched tensors, and times."""

from __future__ import annotations

import onnx_ir as ir
import pytest
import torch

from tests.deploy import small
from workbench.deploy.latency import Latency, compare_latency, latency_ms
from workbench.deploy.runtime import kernels, open_session, run, with_outputs
from workbench.foundation.errors import ExportError


@pytest.fixture(scope="module")
def data():
    return ir.to_proto(small.two_convolutions()).SerializeToString()


@pytest.fixture
def inputs():
    return (torch.from_numpy(small.random(2, 3, 9, 9)),)


def test_tensors_are_fetched_by_name(data, inputs):
    extended = with_outputs(data, ["h1", "a2", "h1", "y"])
    got = run(open_session(extended), inputs)
    assert list(got) == ["y", "h1", "a2"]
    assert list(run(open_session(extended), inputs, ["a2"])) == ["a2"]
    assert got["h1"].shape == (2, 8, 7, 7)


def test_an_unknown_tensor_is_named(data):
    with pytest.raises(ExportError, match="no node of the file writes 'nowhere'"):
        with_outputs(data, ["nowhere"])


def test_files_and_bytes_give_the_same(data, inputs, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    from_file = run(open_session(path, threads=1), inputs)["y"]
    assert (from_file == run(open_session(data, threads=1), inputs)["y"]).all()


def test_broken_files_are_one_sentence(tmp_path, capfd):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ExportError, match=r"does not load '.*m.onnx'") as caught:
        open_session(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_wrong_inputs_are_refused(data):
    session = open_session(data)
    with pytest.raises(ExportError, match="takes 1 inputs, not 0"):
        run(session, ())
    with pytest.raises(ExportError, match="failed at run time"):
        run(session, (torch.zeros(1, 5),))


def test_kernels_are_counted(data):
    assert kernels(data)["Gemm"] == 1


def test_latencies_are_positive(data, inputs):
    assert latency_ms(data, inputs, repeats=3) > 0
    both = compare_latency(data, data, inputs, repeats=3)
    assert both.record()["speedup"] == pytest.approx(both.float_ms / both.quantized_ms)


def test_speedup_is_of_the_quantized_file():
    assert Latency(float_ms=3.0, quantized_ms=1.5, repeats=1, threads=1).speedup == 2.0


def test_no_repeats_is_an_error(data, inputs):
    with pytest.raises(ExportError, match="at least once"):
        latency_ms(data, inputs, repeats=0)
