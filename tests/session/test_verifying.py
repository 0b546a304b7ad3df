"""A session beside a quantized file of another tool."""

from __future__ import annotations

import numpy as np
import pytest

import workbench
from tests.deploy import saturating, small
from workbench.deploy import cures
from workbench.deploy.metadata import SOURCE, annotate
from workbench.foundation.errors import ExportError, ModelError, RunError
from workbench.session.execute import Extent
from workbench.session.kinship import doubts
from workbench.session.verifying import check_file


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return saturating.files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def session(files):
    x = saturating.data(20).numpy()
    return workbench.open(files[0], data=(x, np.arange(20) % saturating.WIDTH))


def test_any_file_is_verified_and_priced(session, files):
    found = session.verify(files[1], examples=12)
    assert found.modes[0].verdict == "equal"
    assert found.price.examples == 12
    assert found.price.float_score is not None
    assert found.price.latency_ms > 0


def test_all_of_the_data_judges(session, files):
    check = check_file(session, files[1], examples=1000)
    assert sum(len(batch[0]) for batch in check.batches) == 20
    assert check.labels is not None
    assert len(check.labels) == 20


def test_what_cannot_be_verified_is_said(session, files, tmp_path):
    with pytest.raises(RunError, match="examples was '0'"):
        session.verify(files[1], examples=0)
    with pytest.raises(ModelError, match="cannot be read"):
        session.verify(tmp_path / "none.onnx")


def test_a_file_of_another_model_is_told(session, files, tmp_path):
    other = workbench.open(small.two_convolutions())
    with pytest.raises(ModelError, match=r"takes 'x' \(batch, 64\), but the float model takes 'x'"):
        check_file(other, files[1])
    assert doubts(session, files[1]) == ()
    path = tmp_path / "other.onnx"
    path.write_bytes(files[1].read_bytes())
    annotate(path, {SOURCE: "0" * 64})
    (note,) = session.verify(path, examples=4).notes
    assert "records the hash of another float model" in note


def test_a_verification_outlives_prices_that_cannot_be_measured(session, files, monkeypatch):
    def refuse(*_, **__):
        raise ExportError("ONNX Runtime does not load it")

    monkeypatch.setattr(cures, "medians", refuse)
    found = session.verify(files[1], examples=4)
    assert found.price is None
    assert found.notes == ("prices were not measured (ONNX Runtime does not load it)",)


def test_a_run_refuses_files_of_others(session, files, tmp_path):
    extent = Extent(layers=False, verify=False, latency=False)
    run = session.quantize(8, 8, method="rtn", out=tmp_path / "run", extent=extent)
    assert run.verify(examples=4).ok
    path = tmp_path / "other.onnx"
    path.write_bytes(run.files.model.read_bytes())
    annotate(path, {SOURCE: "0" * 64})
    with pytest.raises(RunError, match=r"'other.onnx' is not a file of run 'run'"):
        run.verify(path)


def test_a_run_has_a_latency_by_node(session, tmp_path):
    extent = Extent(layers=False, verify=False, latency=False)
    run = session.quantize(8, 8, method="rtn", out=tmp_path / "run", extent=extent)
    found = run.latency(repeats=3)
    assert found.float_layers == []
    assert found.latency.threads == 1
    assert sum(node.bytes for node in found.nodes) < sum(n.float_bytes or 0 for n in found.nodes)
