"""Every hostile file is refused in one sentence that names the culprit, or opens; nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest
import torch

import workbench
from tests.hostile.corpus import CASES, MARK, Case
from tests.hostile.corpus.data import PICTURES
from tests.hostile.watch import watched
from workbench.cli import main
from workbench.foundation.errors import ModelError, WorkbenchError
from workbench.graph.trial import trial
from workbench.session.execute import Extent
from workbench.session.recipe import Recipe
from workbench.session.runs import Run

SECONDS, MEGABYTES = 5.0, 500.0
QUICK = Extent(naive=False, layers=False, verify=False, latency=False)
CLASSIFIER = """<ir_version: 10, opset_import: ["" : 21]>
net (float[n, 1, 4, 4] image) => (float[n, 3] scores)
<float[3, 16] w = {%s}, float[3] b = {0, 1, 2}, int64[2] flat = {0, 16}> {
    rows = Reshape (image, flat)
    scores = Gemm <transB = 1> (rows, w, b)
}"""
READER = """<ir_version: 10, opset_import: ["" : 21]>
net (int64[n, 8] bytes) => (float[n, 8, 2] scores)
<float[256, 2] e, int64 one = {1}> { scores = Gather (e, bytes) }"""


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of pictures, (n, 1, 4, 4) to 3 classes."""
    numbers = ", ".join(f"{np.sin(k):.3f}" for k in range(48))
    path = tmp_path_factory.mktemp("sound") / "classifier.onnx"
    onnx.save(onnx.parser.parse_model(CLASSIFIER % numbers), path)
    return path


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of bytes."""
    path = tmp_path_factory.mktemp("sound") / "reader.onnx"
    proto = onnx.parser.parse_model(READER)
    table = np.ones((256, 2), np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(table, "e"))
    del proto.graph.value_info[:]
    onnx.save(proto, path)
    return path


@pytest.fixture(scope="module")
def finished(classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is done."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((24, *PICTURES.shape[1:])), np.arange(24) % 3
    session = workbench.open(classifier, data=(data[0].astype(np.float32), data[1]))
    folder = tmp_path_factory.mktemp("runs") / "run"
    return session.quantize(8, 8, "rtn", out=folder, extent=QUICK).directory


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the program may touch lies in the test's folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("TMPDIR", "HOME", "WORKBENCH_RUNS", "WORKBENCH_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def use(kind: str, path: Path, classifier: Path, reader: Path) -> None:
    """What a person would do with such a file, from Python."""
    if kind == "open":
        workbench.open(path).about()
    elif kind == "recipe":
        Recipe.load(path)
    elif kind == "run":
        _use_run(path)
    else:
        data = workbench.open(classifier if kind == "data" else reader, data=path).data
        for split in ("calibration", "test"):
            assert sum(len(inputs[0]) for inputs, _ in data.batches(split)) == data.size(split)


def _use_run(path: Path) -> None:
    run = Run(path)
    assert run.state == "done"
    assert run.recipe
    assert run.events()
    assert run.report()
    assert run.session.data
    assert run.model
    assert run.verify(examples=4).ok


def command(kind: str, path: Path, classifier: Path, reader: Path) -> list[str]:
    """The same on the command line."""
    return {
        "open": ["inspect", str(path)],
        "data": ["quantize", str(classifier), "--data", str(path), "--method", "rtn", "--fast"],
        "text": ["quantize", str(reader), "--data", str(path), "--method", "rtn", "--fast"],
        "recipe": ["quantize", str(classifier), "--recipe", str(path)],
        "run": ["verify", str(path)],
    }[kind]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", CASES)
def test_refused_in_a_sentence_or_opened(
    name: str, tmp_path: Path, classifier: Path, reader: Path, finished: Path
):
    case = CASES[name]
    if case.kind == "run":
        shutil.copytree(finished, tmp_path / "run")
    path = case.make(tmp_path)
    sound = {str(classifier.parent), str(reader.parent)}
    with watched(tmp_path) as seen:
        message = _message(case, path, classifier, reader)
    outside = [text for text in seen.touched if not any(place in text for place in sound)]
    assert not outside
    assert not (tmp_path / MARK).exists()
    assert seen.seconds < SECONDS
    assert seen.megabytes < MEGABYTES
    if case.words is None:
        assert message is None
    else:
        assert message is not None, "it was not refused"
        assert re.search(case.words, message), message
        assert message.isprintable()
        assert len(message) < 2100


def _message(case: Case, path: Path, classifier: Path, reader: Path) -> str | None:
    try:
        use(case.kind, path, classifier, reader)
    except WorkbenchError as error:
        return str(error)
    return None


COMMANDED = [name for name in CASES if name.startswith(("open-", "run-record", "run-state"))][::4]


@pytest.mark.parametrize("name", COMMANDED)
def test_the_command_line_says_the_same(
    name: str,
    tmp_path: Path,
    classifier: Path,
    reader: Path,
    finished: Path,
    capsys: pytest.CaptureFixture[str],
):
    case = CASES[name]
    if case.kind == "run":
        shutil.copytree(finished, tmp_path / "run")
    path = case.make(tmp_path)
    code = main([*command(case.kind, path, classifier, reader), "--json"])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == (2 if case.words else 0)
    assert ("error" in answer) == (case.words is not None)


def test_weights_that_are_not_finite_are_shown(tmp_path: Path):
    session = workbench.open(CASES["open-weights-not-finite"].make(tmp_path))
    assert session.warnings == ["1 initializers hold NaN or infinity, and so may all results: 'w'"]
    assert session.about()["warnings"] == session.warnings


def test_a_loop_without_end_is_ended(tmp_path: Path):
    graph = workbench.open(CASES["open-endless-loop"].make(tmp_path)).graph
    with pytest.raises(ModelError, match="goes on after '20000' iterations"):
        trial(graph, [torch.zeros(1, 3)])


@pytest.mark.parametrize("name", ["range", "expand", "fill", "tile"])
def test_a_constant_that_needs_terabytes_names_its_node(tmp_path: Path, name: str):
    graph = workbench.open(CASES[f"open-constant-that-needs-terabytes-{name}"].make(tmp_path)).graph
    with pytest.raises(ModelError, match=r"node '.*', operator '\w+', (failed|makes a tensor of)"):
        trial(graph, [torch.zeros(1, 3)])
