"""Names that a stranger chose, all the way through a run: learned, exported, drawn, written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import workbench
from tests.hostile.corpus.graphs import NAMES
from workbench.cli import main
from workbench.session.runs import Run
from workbench.views import report as page

TITLE = "<img src=x onerror=alert(1)> ${7*7} [b]"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A network with one layer for each hostile name, in a file with another."""
    folder = tmp_path_factory.mktemp("names")
    onnx.save(_chain(), folder / f"{TITLE}.onnx")
    rng = np.random.default_rng(0)
    data = rng.standard_normal((32, 4)).astype(np.float32), np.arange(32) % 4
    session = workbench.open(folder / f"{TITLE}.onnx", data=data)
    return session.quantize(8, 8, "rtn", out=folder / "run")


def _chain() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for name in NAMES:
        array = np.eye(4, dtype=np.float32) + rng.standard_normal((4, 4)).astype(np.float32) / 8
        weights.append(numpy_helper.from_array(array, f"{name}.weight"))
        nodes.append(helper.make_node("MatMul", [last, f"{name}.weight"], [f"{name}.out"], name))
        last = f"{name}.out"
    ends = [helper.make_tensor_value_info(v, TensorProto.FLOAT, ["n", 4]) for v in ("x", last)]
    graph = helper.make_graph(nodes, TITLE, ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_each_name_is_kept(run: Run):
    assert [layer["layer"] for layer in run.report()["layers"]] == list(NAMES)
    assert run.report()["model"]["name"] == TITLE


def test_the_file_is_what_was_simulated(run: Run, tmp_path: Path):
    written = run.export(tmp_path / "out.onnx")
    assert written.verify(16).ok
    names = {node.name for node in onnx.load(written.path).graph.node}
    assert set(NAMES) <= names


def test_what_was_learned_is_found_again(run: Run):
    assert set(Run(run.directory).model.sites) == set(run.model.sites)


def test_files_have_plain_names(run: Run):
    for path in run.directory.rglob("*"):
        assert re.fullmatch(r"[a-z.]+", path.name), path.name


def test_the_page_holds_names_as_text_only(run: Run):
    text = page.html(run.report(), run.events())
    assert not re.search(r"<img[^>]*onerror", text)
    assert "<script>alert" not in text
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    (view,) = json.loads(data[1])["runs"]
    assert set(view["details"]) == set(NAMES)
    assert view["model"] == TITLE


def test_the_terminal_is_not_driven_by_names(run: Run, capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", str(run.session.origin.value)]) == 0
    printed = capsys.readouterr().out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", printed)
