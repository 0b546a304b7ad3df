"""Sessions in this process: open, quantize, look, export, resume; and what goes wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from torch import nn

import workbench
from workbench.foundation.errors import DataError, ModelError, RecipeError, RunError
from workbench.session.execute import Extent, execute
from workbench.session.runs import Run, all_runs
from workbench.session.store import Checkpoint

QUICK = Extent(layers=False, verify=False, latency=False)


@pytest.fixture
def run(tiny: workbench.Session) -> Run:
    return tiny.quantize(4, 8, "gram", extent=QUICK)


def test_a_run_leaves_everything_behind(tiny: workbench.Session):
    seen: list[tuple[str, float]] = []
    run = tiny.quantize(3, 8, progress=lambda e, p: seen.append((e.kind, p.fraction)))
    assert run.state == "done"
    wanted = {"recipe.toml", "run.json", "events.jsonl", "progress.json", "state.safetensors"}
    wanted |= {"report.json", "model.onnx", "predictions.safetensors", "layers.jsonl"}
    assert {path.name for path in run.directory.iterdir()} == wanted
    assert [fraction for _, fraction in seen] == sorted(fraction for _, fraction in seen)
    assert len(run.events()) == len(seen) - 1  # the last one says "done" to the watcher only
    report = run.report()
    assert set(report["scores"]) == {"float", "naive", "learned", "onnxruntime"}
    assert report["verification"]["ok"]
    assert report["latency_ms"] > 0
    assert run.scores["onnxruntime"]["agreement_with_simulation"] == 100.0
    assert list(run.layers["layer"]) == [row["layer"] for row in report["layers"]]
    assert set(report["guilty"]) <= set(run.layers["layer"])
    assert report["histograms"]


def test_the_run_is_named_for_people(run: Run):
    assert run.name.startswith("tiny-w4a8-gram-")
    assert [found.name for found in all_runs()] == [run.name]
    assert Run(run.name).directory == run.directory


def test_the_model_of_a_run_is_what_was_scored(run: Run, tiny: workbench.Session):
    again = Run(run.directory)
    inputs = tiny.data.split("test")
    runtime = onnx.load(run.files.model)
    assert runtime.metadata_props
    metadata = {entry.key: entry.value for entry in runtime.metadata_props}
    assert workbench.Recipe.from_toml(metadata["workbench.recipe"]) == run.recipe
    with torch.no_grad():
        assert torch.equal(again.model(*inputs)[0], run.model(*inputs)[0])


def test_export_and_verify_again(run: Run, tmp_path: Path):
    file = run.export(tmp_path / "out.onnx")
    assert file.verify().ok
    assert file.path.read_bytes() == run.files.model.read_bytes()
    assert run.export(tmp_path / "wide.onnx", store="int8").bytes > 0


def test_a_live_module(tmp_path: Path):
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    x, y = torch.randn(40, 4, 4), torch.randint(0, 3, (40,))
    session = workbench.open(module, example_inputs=(x[:2],), data=(x, y), name="mine")
    run = session.quantize(8, 8, "rtn", out=tmp_path / "run", extent=QUICK)
    assert (tmp_path / "run" / "source.onnx").exists()
    again = Run(tmp_path / "run")
    assert again.session.sha256 == session.sha256
    rows = again.session.data.calibrate_on(512).test
    assert np.array_equal(rows, session.data.calibrate_on(512).test)
    with torch.no_grad():
        assert torch.equal(again.model(x)[0], run.model(x)[0])


def test_float_activations_and_options(tiny: workbench.Session):
    recipe = tiny.recipe(4, "float", "gram", edges=None, sweeps=1, seed=5)
    assert recipe.activations is None
    assert recipe.stages[0].options == {"sweeps": 1}
    assert recipe.seed == 5
    assert tiny.recipe(4, 0) == tiny.recipe(4, None)


def test_a_stopped_run_goes_on(tiny: workbench.Session, run: Run):
    files = tiny.prepare(run.recipe, extent=QUICK)
    steps = execute(tiny, run.recipe, files.directory, QUICK)
    while not files.checkpoint.exists():
        next(steps)
    steps.close()
    stopped = Run(files.directory)
    assert stopped.state == "stopped"
    with pytest.raises(RunError, match="is stopped and has no report yet; go on with: workbench"):
        stopped.report()
    tiny.make(files)
    first, second = (Checkpoint.read(f.state) for f in (run.files, files))
    assert first is not None
    assert second is not None
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not files.checkpoint.exists()


def test_an_interrupt_leaves_a_resumable_run(tiny: workbench.Session):
    files = tiny.prepare(tiny.recipe(), extent=QUICK)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny.make(files, interrupt)
    assert Run(files.directory).state == "stopped"


def test_a_crash_is_one_sentence(tiny: workbench.Session):
    files = tiny.prepare(tiny.recipe(), extent=QUICK)

    def crash(*_: object) -> None:
        raise ZeroDivisionError("something\nlong")

    with pytest.raises(ZeroDivisionError):
        tiny.make(files, crash)
    failed = Run(files.directory)
    assert failed.state == "failed"
    assert failed.message == "internal error: ZeroDivisionError: something"


def test_a_directory_that_is_taken(tiny: workbench.Session, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(RunError, match="is a file; choose a folder for the run"):
        tiny.quantize(out=__file__)
    with pytest.raises(RunError, match="is there and not empty; choose another folder"):
        tiny.quantize(out=tmp_path / "mine")


def test_a_changed_model_is_not_resumed(run: Run, tiny_npz: Path):
    about = json.loads(run.files.run.read_text())
    run.files.run.write_text(json.dumps({**about, "sha256": "0" * 64}))
    with pytest.raises(RunError, match=r"has changed since run .* began; start a new run"):
        _ = Run(run.directory).session


def test_changed_data_are_not_resumed(tiny_path: Path, tiny_npz: Path, tmp_path: Path):
    data = tmp_path / "own.npz"
    data.write_bytes(tiny_npz.read_bytes())
    run = workbench.open(tiny_path, data=data).quantize(8, 8, "rtn", extent=QUICK)
    os.utime(data, (1, 1))
    assert Run(run.directory).verify(examples=8).ok  # the same content, touched
    arrays = dict(np.load(tiny_npz))
    np.savez(data, **{**arrays, "images": arrays["images"] + 1})
    again = Run(run.directory)
    assert again.model  # what was learned needs no data
    with pytest.raises(RunError, match=r"own.npz' have changed since the run began; put them back"):
        again.verify(examples=8)


@pytest.mark.parametrize("key", ["source", "state", "sha256", "name", "changed"])
def test_a_record_that_lacks_something_is_damaged(run: Run, key: str):
    about = json.loads(run.files.run.read_text())
    del about[key]
    run.files.run.write_text(json.dumps(about))
    with pytest.raises(RunError, match=f"is damaged .no '{key}'.; start a new run"):
        Run(run.directory)


def test_labels_beyond_the_classes_are_refused(tiny_path: Path):
    data = np.zeros((6, 1, 8, 8), np.float32), np.array([0, 1, 2, 3, 4, 0])
    with pytest.raises(DataError, match="label '4' is none of the model's 4 classes, 0 to 3"):
        _ = workbench.open(tiny_path, data=data).data


def test_a_graph_that_cannot_run_is_refused_before_anything_starts(tmp_path: Path):
    text = """<ir_version: 10, opset_import: ["" : 21]> g (float[n, 3] x) => (float[n, k] y)
    <float[1, 2] w = {1, 2}, int64[1] two = {2}> { a = MatMul (x, w) y = Tile (a, two) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "bad.onnx")
    session = workbench.open(tmp_path / "bad.onnx", data=np.zeros((4, 3), np.float32))
    with pytest.raises(ModelError, match=r"operator 'MatMul', failed \(RuntimeError"):
        session.quantize(8, 8, "rtn", edges=None)
    assert not (tmp_path / "runs").exists()


def test_diagnosis_names_the_guilty(tiny: workbench.Session):
    found = tiny.diagnose(2, 8, edges=None)
    assert len(found.table) == 2
    assert found.guilty[0] in set(found.table["layer"])


def test_data_is_asked_for_when_there_is_none(tiny_path: Path):
    session = workbench.open(tiny_path)
    with pytest.raises(DataError, match="'tiny' brings no data of its own; give some with --data"):
        session.quantize()


def test_impossible_recipes_touch_nothing(tiny: workbench.Session, tmp_path: Path):
    with pytest.raises(RecipeError, match="weights: option 'bits' was 12"):
        tiny.quantize(weights=12)
    with pytest.raises(RecipeError, match="unknown method 'gramm'; did you mean 'gram'"):
        tiny.quantize(method="gramm")
    with pytest.raises(RecipeError, match="method 'gram' has no option 'swoops'"):
        tiny.quantize(swoops=3)
    assert not (tmp_path / "runs").exists()


def test_wrong_data_is_refused_before_anything_starts(tiny_path: Path, tmp_path: Path):
    session = workbench.open(tiny_path, data=np.zeros((4, 1, 5, 5), np.float32))
    with pytest.raises(DataError, match=r"shape \(N, 1, 5, 5\), but the model takes \(N, 1, 8, 8"):
        session.quantize()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("digits-mobilnet", "neither an .onnx file nor a known model; did you mean 'digits-mobil"),
        ("nowhere.onnx", "cannot be read"),
        (3, "type 'int' cannot be opened"),
        (nn.Linear(2, 2), "needs inputs to be traced with"),
    ],
)
def test_models_that_cannot_be_opened(source: object, sentence: str):
    with pytest.raises(ModelError, match=sentence):
        workbench.open(source)


def test_refused_data_leaves_the_session_as_it_was(tiny_path, tiny_npz):
    session = workbench.open(tiny_path, data=tiny_npz)
    size = session.data.size("test")
    with pytest.raises(DataError):
        session.use_data("nowhere.npz")
    assert session.data.size("test") == size
