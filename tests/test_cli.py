"""The command line: JSON for machines, tables for people, one sentence for what is wrong."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import workbench
from workbench.session import zoo

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def ask(call: Callable[..., tuple[int, str, str]]) -> Callable[..., Any]:
    """The JSON that a command prints."""

    def run(*arguments: object) -> Any:
        code, output, errors = call(*arguments, "--json")
        assert code == 0, errors
        return json.loads(output)

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.onnx and tiny.npz."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    workbench.open(module, example_inputs=(torch.zeros(2, 1, 8, 8),)).save(folder / "tiny.onnx")
    rng = np.random.default_rng(0)
    images = rng.standard_normal((60, 1, 8, 8)).astype(np.float32)
    np.savez(folder / "tiny.npz", images=images, labels=rng.integers(0, 3, 60))
    return folder


@pytest.fixture
def model(folder: Path) -> list[str]:
    """The arguments that name model and data."""
    return [str(folder / "tiny.onnx"), "--data", str(folder / "tiny.npz")]


@pytest.fixture
def quantized(model: list[str], ask: Callable[..., Any]) -> dict[str, Any]:
    """A fast run."""
    return ask("quantize", *model, "--weights", 4, "--out", "run", "--fast")


# --- lists ----------------------------------------------------------------------------------------


def test_help_comes_quickly_and_loads_nothing_heavy():
    code = (
        "import sys, workbench.cli as cli; cli.main(['--help']);"
        "assert not {'torch', 'onnx', 'numpy', 'pandas', 'gradio'} & set(sys.modules)"
    )
    start = time.process_time()
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert "quantize" in found.stdout
    assert time.process_time() - start < 2


@pytest.mark.parametrize("command", ["version", "methods", "models", "runs"])
def test_lists_are_json_or_tables(command: str, call: Callable[..., Any], ask: Callable[..., Any]):
    assert ask(command) is not None
    code, output, _ = call(command)
    assert code == 0
    assert output


def test_methods_show_their_options(ask: Callable[..., Any]):
    found = {method["name"]: method for method in ask("methods")}
    assert {"rtn", "gram", "adaround", "lsq"} <= set(found)
    assert {"sweeps"} <= {option["name"] for option in found["gram"]["options"]}
    assert found["lsq"]["citation"]


def test_estimators_are_listed(ask: Callable[..., Any]):
    found = {entry["name"]: entry for entry in ask("methods", "--kind", "estimator")}
    assert {"ste", "clipped_ste", "ewgs", "dsq", "tanh", "reste"} <= set(found)
    assert found["ewgs"]["options"][0]["name"] == "delta"


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_estimators_are_drawn(
    suffix: str, tmp_path: Path, call: Callable[..., Any], ask: Callable[..., Any]
):
    code, output, _ = call("methods", "--estimators", tmp_path / f"all.{suffix}")
    assert code == 0
    assert "clipped_ste" in output
    assert (tmp_path / f"all.{suffix}").stat().st_size > 5000
    view = ask("methods", "dsq", "--estimators", tmp_path / f"one.{suffix}")
    assert [record["name"] for record in view["estimators"]] == ["dsq"]
    assert len(view["estimators"][0]["slope"]) == len(view["x"])
    assert (tmp_path / f"one.{suffix}").is_file()


@pytest.mark.parametrize(
    ("name", "path", "said"),
    [
        ("ewgs", "picture.bmp", ".svg, .png or .pdf"),
        ("ewgs", "nowhere/picture.svg", "does not exist"),
        ("lsq", "picture.svg", "unknown estimator 'lsq'"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    name: str, path: str, said: str, tmp_path: Path, call: Callable[..., Any]
):
    code, _, errors = call("methods", name, "--estimators", tmp_path / path)
    assert code != 0
    assert said in " ".join(errors.split())
    assert not list(tmp_path.iterdir())


def test_models_are_those_that_can_be_opened(ask: Callable[..., Any]):
    assert [found["name"] for found in ask("models")] == list(zoo.known())


def test_inspect(folder: Path, call: Callable[..., Any], ask: Callable[..., Any]):
    found = ask("inspect", folder / "tiny.onnx")
    assert found["layers"] == 2
    assert [layer["op"] for layer in found["layer_list"]] == ["Conv", "Gemm"]
    assert found["inputs"][0]["shape"] == ["batch", 1, 8, 8]
    code, output, _ = call("inspect", folder / "tiny.onnx")
    assert code == 0
    assert "Conv" in output


# --- runs -----------------------------------------------------------------------------------------


def test_quantize_says_what_a_run_gave(quantized: dict[str, Any], ask: Callable[..., Any]):
    keys = {"model", "float", "naive", "learned", "onnxruntime", "agreement", "sqnr_db", "bytes"}
    keys |= {"float_bytes", "latency_ms", "float_latency_ms", "seconds", "verified", "guilty"}
    assert keys <= quantized.keys()
    assert quantized["same_as_simulation"] == 100.0
    assert Path(quantized["directory"], "model.onnx").stat().st_size == quantized["bytes"]


def test_a_whole_run_for_people(model: list[str], call: Callable[..., Any]):
    code, output, errors = call("quantize", *model, "--weights", 3, "--method", "rtn")
    assert code == 0, errors
    for text in ("float", "nearest rounding", "in ONNX Runtime", "hurt most", "ONNX Runtime"):
        assert text in output
    assert "learn" in errors


def test_export_verify_and_list(quantized: dict[str, Any], call: Callable, ask: Callable):
    written = ask("export", "run", "--out", "out.onnx", "--store", "int8")
    assert written["store"] == "int8"
    assert Path("out.onnx").stat().st_size == written["bytes"]
    found = ask("verify", "run")
    assert found["ok"]
    assert call("verify", "run")[0] == 0
    assert call("stop", "run")[1].strip() == "run: done"
    assert ask("stop", "run")["state"] == "done"
    code, _, errors = call("resume", "run")
    assert code == 2
    assert "is done; there is nothing to resume" in errors


def test_what_a_run_learned_is_said_and_dumped(quantized: dict, call: Callable, ask: Callable):
    view = ask("watch", "run")
    names = [unit["name"] for unit in view["units"]]
    assert names
    assert all(unit["sites"] for unit in view["units"])
    code, output, _ = call("watch", "run")
    assert code == 0
    lines = output.splitlines()
    assert [line.split(" · ")[0] for line in lines[:-1]][: len(names)] == names
    assert "nearest" in lines[0]
    assert "learned" in lines[0]
    assert lines[-1] == "run: done"
    assert call("watch", "nothing")[0] == 2


def test_runs_are_found_by_name(model: list[str], ask: Callable[..., Any]):
    made = ask("quantize", *model, "--fast", "--method", "rtn")
    (listed,) = ask("runs")
    assert listed["state"] == "done"
    assert listed["summary"]["learned"] == made["learned"]
    assert ask("export", listed["name"])["bytes"] > 0


def test_recipes_from_options_and_from_a_file(model: list[str], call: Callable, ask: Callable):
    more = ["--activations", "float", "--edges", "same", "--method", "rtn", "--method", "gram"]
    more += ["--option", "gram.sweeps=2", "--option", "rtn.weight_calibrator=minmax"]
    more += ["--target", "weight-only", "--zero-points"]
    more += ["--override", "*=5/0", "--seed", "3", "--calibration", "16", "--store", "int8"]
    made = ask("quantize", *model, *more, "--fast")
    recipe = workbench.Recipe.load(Path(made["directory"]) / "recipe.toml")
    assert recipe.activations is None
    assert recipe.edges is None
    assert not recipe.weights.symmetric
    assert recipe.stages[0].options == {"weight_calibrator": "minmax"}
    assert recipe.stages[1].options == {"sweeps": 2}
    assert (recipe.seed, recipe.calibration_examples, recipe.store) == (3, 16, "int8")
    recipe.save("recipe.toml")
    again = ask("quantize", *model, "--recipe", "recipe.toml", "--fast")
    assert again["learned"] == made["learned"]
    code, _, errors = call("quantize", *model, "--recipe", "recipe.toml", "--weights", 3)
    assert code == 2
    assert "--recipe and --weights do not go together" in errors


def test_made_examples_from_one_option(model: list[str], call: Callable, ask: Callable):
    made = ask("quantize", *model, "--fast", "--method", "rtn", "--synthetic",
               "random:batch_size=4", "--calibration", "6")  # fmt: skip
    recipe = workbench.Recipe.load(Path(made["directory"]) / "recipe.toml")
    assert recipe.synthetic.maker == "random"
    assert (recipe.synthetic.examples, recipe.synthetic.options) == (6, {"batch_size": 4})
    assert recipe.calibration_examples == 512
    assert made["data_free"] == "data-free (chance, 6 pictures)"
    assert made["judged"].startswith("judged on ")
    code, out, _ = call("quantize", *model, "--fast", "--method", "rtn", "--synthetic", "random")
    assert code == 0
    assert "data-free (chance, 128 pictures); judged on" in " ".join(out.split())
    code, _, errors = call("quantize", *model, "--synthetic", "random:4")
    assert code == 2
    assert "--synthetic was 'random:4'; give NAME, or NAME:KEY=VALUE" in " ".join(errors.split())


def test_a_strange_run_does_not_hide_the_others(model: list[str], call: Callable, ask: Callable):
    made = Path(ask("quantize", *model, "--fast", "--method", "rtn")["directory"])
    report = json.loads((made / "report.json").read_text())
    (made / "report.json").write_text(json.dumps({**report, "scores": {}}))
    (made.parent / "broken").mkdir()
    (made.parent / "broken" / "run.json").write_text("{")
    (listed,) = ask("runs")
    assert listed["summary"] is None
    assert call("runs")[0] == 0


def test_diagnose(
    model: list[str], ask: Callable, call: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    found = ask("diagnose", *model, "--weights", 2)
    assert len(found["layers"]) == 2
    assert found["guilty"]
    code, table, _ = call("diagnose", *model, "--weights", 2, "--exact")
    assert code == 0
    assert "rank correlation of estimate and measurement, held_out: sites" in table
    site = next(own["site"] for own in found["sites"] if own["kind"] == "weight")
    code, _, told = call("diagnose", *model, "--weights", 2, "--channel", 0)
    assert code == 2
    assert "--site" in told
    code, _, told = call("diagnose", *model, "--edges", 0)
    assert code == 2
    assert "--edges was 0; give a number of bits, or 'same'" in told
    inside = ask("diagnose", *model, "--weights", 2, "--site", site, "--channel", 0)
    assert len(inside["channels"]) == 4
    assert {own["index"][0] for own in inside["weights"]} == {0}
    code, table, _ = call("diagnose", *model, "--weights", 2, "--site", site)
    assert code == 0
    assert "Largest errors" in table


@pytest.mark.slow
def test_a_job_in_the_background(model: list[str], ask: Callable[..., Any]):
    started = ask("quantize", *model, "--out", "job", "--background", "--method", "rtn")
    assert started["state"] == "running"
    from workbench.session.jobs import Job

    assert Job("job").wait(120) == "done", Path("job/worker.log").read_text()


# --- what is wrong --------------------------------------------------------------------------------


def unknown_operator(path: Path) -> None:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 4]) for n in "xy"]
    node = helper.make_node("Frobnicate", ["x"], ["y"], name="odd")
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    opset = helper.make_opsetid("", 21)
    path.write_bytes(helper.make_model(graph, opset_imports=[opset]).SerializeToString())


def truncated(path: Path, original: Path) -> None:
    content = original.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.fixture
def bad(tmp_path: Path, folder: Path) -> Path:
    """A folder of files that cannot be used."""
    (tmp_path / "text.onnx").write_text("<html>not a model</html>")
    (tmp_path / "zip.onnx").write_bytes(b"PK\x03\x04rest")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "noise.onnx").write_bytes(bytes(range(256)) * 8)
    truncated(tmp_path / "half.onnx", folder / "tiny.onnx")
    unknown_operator(tmp_path / "odd.onnx")
    np.savez(tmp_path / "shape.npz", images=np.zeros((4, 3, 9, 9), np.float32))
    (tmp_path / "bad.toml").write_text("[weights]\nbits = 40\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["inspect", "text.onnx"], "'text.onnx' is a text file, not ONNX; export"),
        (["inspect", "zip.onnx"], "is a zip archive"),
        (["inspect", "empty.onnx"], "is empty; export or download the model again"),
        (["inspect", "noise.onnx"], "is not a complete ONNX file; export or download it again"),
        (["inspect", "half.onnx"], "'half.onnx'"),
        (["inspect", "missing.onnx"], "cannot be read (No such file or directory); check the path"),
        (["targets", "odd.onnx"], "Frobnicate"),
        (["inspect", "digits-mobilnet"], "did you mean 'digits-mobilenet'?"),
        (["quantize", "TINY"], "'tiny' brings no data of its own; give some with --data"),
        (["quantize", "TINY", "--data", "shape.npz"], "has shape (N, 3, 9, 9), but the model take"),
        (["quantize", "TINY", "--data", "none.zip"], "there is no data at 'none.zip'; check"),
        (
            ["quantize", "TINY", "--weights", "12"],
            "weights: option 'bits' was 12: give a number of at most 8",
        ),
        (["quantize", "TINY", "--activations", "x"], "--activations was 'x'; give a number of bit"),
        (["quantize", "TINY", "--method", "gramm"], "unknown method 'gramm'; did you mean 'gram'?"),
        (["quantize", "TINY", "--target", "tpu"], "unknown target 'tpu'; known are: ort-cpu"),
        (["quantize", "TINY", "--option", "sweeps"], "--option was 'sweeps'; give KEY=VALUE"),
        (["quantize", "TINY", "--option", "sweeps=x"], "option 'sweeps' was 'x'"),
        (["quantize", "TINY", "--override", "a"], "--override was 'a'; give PATTERN=WEIGHTS"),
        (["quantize", "TINY", "--data", "DATA", "--override", "a=4"], "'a' matches no layer"),
        (["quantize", "TINY", "--recipe", "bad.toml"], "weights: option 'bits' was 40"),
        (["quantize", "TINY", "--recipe", "none.toml"], "recipe 'none.toml' cannot be read"),
        (["quantize", "TINY", "--data", "DATA", "--mean", "x"], "--mean was 'x'; give numbers"),
        (["quantize", "TINY", "--data", "DATA", "--size", "x"], "--size was 'x'; give 224"),
        (["verify", "nothing"], "there is no run 'nothing'; list them with: workbench runs"),
        (["resume", "nothing"], "there is no run 'nothing'"),
    ],
)
def test_errors_are_one_sentence(bad: Path, folder: Path, call: Callable, arguments, sentence: str):
    names = {"TINY": str(folder / "tiny.onnx"), "DATA": str(folder / "tiny.npz")}
    given = [names.get(argument, argument) for argument in arguments]
    code, output, errors = call(*given)
    assert code == 2
    assert output == ""
    assert errors.startswith("error: ")
    assert sentence in errors
    assert errors.count("\n") == 1
    assert "Traceback" not in errors
    assert not Path("runs").exists()
    code, output, _ = call(*given, "--json")
    assert sentence in json.loads(output)["error"]


def test_markup_in_names_is_only_text(call: Callable[..., Any]):
    assert "'[red]x[/red].onnx'" in call("inspect", "[red]x[/red].onnx")[2]


def test_usage_errors_have_no_traceback(call: Callable[..., Any]):
    code, _, errors = call("quantize")
    assert code == 2
    assert errors == "error: missing argument 'model'; see: workbench quantize --help\n"
    code, output, errors = call("runs", "--zzz", "--json")
    assert code == 2
    assert json.loads(output) == {"error": "no such option: --zzz; see: workbench runs --help"}


def test_the_app_refuses_what_it_cannot_serve(call: Callable[..., Any]):
    assert "'nope' is neither" in call("app", "--model", "nope")[2]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        errors = call("app", "--port", str(port))[2]
    assert errors == f"error: port '{port}' is taken; give another with --port\n"


def test_the_version_is_an_option_too(call: Callable[..., Any]):
    assert call("--version")[1] == call("version")[1]


def test_a_fault_of_ours_is_short_unless_asked(call, monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setattr(zoo, "known", fail)
    code, _, errors = call("models")
    assert code == 1
    assert errors == (
        "error: internal error, ZeroDivisionError: one; run again with --debug to see where\n"
    )
    with pytest.raises(ZeroDivisionError):
        call("models", "--debug")


def test_the_program_itself(folder: Path, tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-m", "workbench.cli", "inspect", str(folder / "tiny.npz")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith("error: ")
    assert "Traceback" not in found.stderr


@pytest.mark.slow
@pytest.mark.skipif("digits-mobilenet" not in zoo.known(), reason="the sample is not made yet")
def test_the_demo(ask: Callable[..., Any]):
    found = ask("demo")
    assert found["model"] == "digits-mobilenet"
    assert found["float"] - found["learned"] < 1.0
    assert found["learned"] >= found["naive"]
    assert found["same_as_simulation"] >= 99.9
    assert found["verified"]
    assert len(found["guilty"]) == 3
    assert found["bytes"] < found["float_bytes"] / 3
    names = {path.name for path in Path(found["directory"]).iterdir()}
    assert {"model.onnx", "recipe.toml", "report.html", "layers.svg"} <= names
    onnx.checker.check_model(onnx.load(Path(found["directory"]) / "model.onnx"))
