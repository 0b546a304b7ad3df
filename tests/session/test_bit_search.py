"""A run whose bits were learned: opened, exported and verified at those bits."""

from __future__ import annotations

import torch

import workbench
from workbench.deploy.restore import restore
from workbench.graph.load import load
from workbench.session.runs import Run


def test_a_run_opens_again_with_its_bits(tiny: workbench.Session, tmp_path) -> None:
    options = {"epochs": 2, "travel": 20}
    run = tiny.quantize(3, 8, "fracbits", **options, edges=None)
    again = Run(run.directory)
    x = next(iter(tiny.data.batches("test", 8, 8)))[0]
    written = restore(load(run.files.model)).quantized()
    with torch.no_grad():
        assert torch.equal(again.model(*x)[0], written(*x)[0])
    assert run.report()["verification"]["ok"]
    exported = again.export(tmp_path / "m.onnx")
    assert exported.path.read_bytes() == run.files.model.read_bytes()
