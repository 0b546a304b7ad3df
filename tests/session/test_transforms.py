"""Transformations that look at data: kept with the run and in the file, the same without data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import workbench
from workbench.cli import main
from workbench.deploy import metadata
from workbench.deploy.proof import prove_transforms
from workbench.foundation.errors import DataError, ModelError, RecipeError
from workbench.graph.passes.registry import TRANSFORMS
from workbench.session.adopting import adopt
from workbench.session.execute import Extent
from workbench.session.recipe import Recipe, Stage, WeightSpec
from workbench.session.restored import RestoredSession
from workbench.session.runs import Run

SHORT = Extent(naive=False, layers=False, verify=True, latency=False, examples=16)
SAMPLES = ("bytegpt", "digits-gru", "digits-mobilenet", "digits-resnet", "digits-vit")


class Block(nn.Module):
    """A normalization whose channels differ widely, and a small perceptron behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(12)
        self.up = nn.Linear(12, 24)
        self.down = nn.Linear(24, 4)
        with torch.no_grad():
            self.norm.weight.copy_(torch.logspace(-1, 1.5, 12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.relu(self.up(self.norm(x))))


@pytest.fixture
def session(tmp_path: Path) -> workbench.Session:
    """On files, so that a run can be opened again."""
    torch.manual_seed(0)
    model = workbench.open(Block(), example_inputs=(torch.zeros(2, 12),))
    model.save(tmp_path / "block.onnx")
    x = np.random.default_rng(0).normal(size=(64, 12)).astype(np.float32)
    np.savez(tmp_path / "block.npz", x=x)
    return workbench.open(tmp_path / "block.onnx", data=tmp_path / "block.npz")


RECIPE = Recipe(
    weights=WeightSpec(bits=8, granularity="tensor"),
    edges=None,
    transforms=("equalize", "smooth:alpha=0.6"),
    stages=(Stage(method="rtn"),),
)


def test_recipes_take_text_and_tables_and_come_back_from_toml() -> None:
    recipe = Recipe.from_toml(
        'transforms = ["equalize", {name = "smooth", alpha = 0.7}]\n[[stages]]\nmethod = "rtn"'
    )
    assert recipe.transforms == ("equalize", "smooth:alpha=0.7")
    assert Recipe.from_toml(recipe.toml()) == recipe
    with pytest.raises(RecipeError, match="has no option 'power'; its options are: alpha"):
        Recipe(transforms=("smooth:power=1",))


def test_a_transform_follows_the_grid_of_the_recipe() -> None:
    grouped = WeightSpec(bits=3, granularity="group", group_size=16)
    recipe = Recipe(transforms=("awq",), weights=grouped)
    assert recipe.transforms == ("awq",)
    assert recipe.preparation == ("awq:bits=3,group_size=16,symmetric=true",)
    assert Recipe(transforms=("awq:bits=2",)).preparation == (
        "awq:bits=2,group_size=0,symmetric=true",
    )


def test_it_looks_once_and_other_data_make_it_look_again(session: workbench.Session) -> None:
    first = session.measure(["smooth"], 8)
    assert set(first) == {"smooth/norm", "smooth/Relu"}
    assert session.measure(["smooth"], 8) is first
    assert session.transformed(["smooth"], first) is session.transformed(["smooth"], dict(first))
    session.use_data(np.random.default_rng(1).normal(size=(64, 12)).astype(np.float32) * 3)
    assert not torch.equal(session.measure(["smooth"], 8)["smooth/Relu"], first["smooth/Relu"])


def test_no_example_that_judges_is_looked_at(session: workbench.Session) -> None:
    few = session.data.calibrate_on(8).split("calibration")[0]
    seen = session.measure(["smooth"], 8)
    wanted = session.transformed()
    x = wanted.module(few)
    assert len(few) == 8
    assert len(x[0]) == 8
    rest = session.data.calibrate_on(8).split("test")[0]
    assert not any(bool((row == few).all(1).any()) for row in rest)
    assert not torch.equal(session.measure(["smooth"], 32)["smooth/Relu"], seen["smooth/Relu"])


def test_a_session_without_data_says_what_is_missing() -> None:
    session = workbench.open(Block(), example_inputs=(torch.zeros(2, 12),))
    with pytest.raises(DataError, match="brings no data of its own; give some with --data"):
        session.transformed(["smooth"])
    assert session.transformed(["equalize"]) is not session.graph


def test_a_run_and_its_file_hold_what_was_measured(
    session: workbench.Session, tmp_path: Path
) -> None:
    run = session.quantize(recipe=RECIPE, out=tmp_path / "run", extent=SHORT)
    steps = {step["name"]: step for step in run.report()["transforms"]}
    assert steps["channels smoothed"]["count"] == 2
    assert 0 < steps["channels smoothed"]["max_difference"] < 1e-5
    assert run.report()["verification"]["ok"]
    stored = run.files.read_measured()
    assert stored is not None
    assert set(stored) == {"smooth/norm", "smooth/Relu"}

    (tmp_path / "block.npz").unlink()  # from here on without data
    x = torch.randn(5, 12)
    again = Run(run.directory)
    assert torch.equal(again.model(x)[0], run.model(x)[0])
    file = workbench.open(run.files.model, original=tmp_path / "block.onnx")
    assert isinstance(file, RestoredSession)
    assert all(torch.equal(file.measured[key], value) for key, value in stored.items())
    assert torch.equal(file.quantized(x)[0], run.model(x)[0])
    file.export_file(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == run.files.model.read_bytes()


def test_a_file_becomes_the_same_run_again(session: workbench.Session, tmp_path: Path) -> None:
    run = session.quantize(recipe=RECIPE, out=tmp_path / "run", extent=SHORT)
    file = workbench.open(run.files.model, original=tmp_path / "block.onnx")
    assert isinstance(file, RestoredSession)
    other = np.random.default_rng(5).normal(size=(64, 12)).astype(np.float32) * 2
    session.use_data(other)
    files = adopt(file, session, tmp_path / "again", SHORT)
    x = torch.randn(5, 12)
    assert torch.equal(Run(files.directory).model(x)[0], run.model(x)[0])


def test_damaged_measurements_are_refused() -> None:
    entry = metadata.packed({"smooth/x": torch.tensor([1.5, 0.1])})
    assert metadata.unpacked({"k": entry}, "k")["smooth/x"].tolist() == [
        1.5,
        pytest.approx(0.1),
    ]
    assert metadata.unpacked({}, "k") == {}
    for damage in ('{"a": [[2], "AAAA"]}', '{"a": 3}', '{"a": [[1, 2], "?"]}', "[]"):
        with pytest.raises(ModelError, match="metadata 'k' is damaged; export it again"):
            metadata.unpacked({"k": damage}, "k")


def test_the_command_line_takes_options(
    session: workbench.Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert session.name == "block"
    data = ["--data", str(tmp_path / "block.npz"), "--method", "rtn", "--fast"]
    command = ["quantize", str(tmp_path / "block.onnx"), *data]
    assert main([*command, "--transform", "smooth:alpha=0.7"]) == 0
    assert "channels smoothed: 2" in capsys.readouterr().out
    assert main([*command, "--transform", "smooth:alpha=7"]) == 2
    assert "option 'alpha' was 7" in capsys.readouterr().err
    assert main(["methods", "--kind", "transform"]) == 0
    assert "smooth" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("entry", [e for e in TRANSFORMS if e.facts["exact"]], ids=lambda e: e.name)
def test_the_float_function_of_every_sample_stays(entry, sample: str) -> None:
    session = workbench.open(sample)
    measured = session.measure([entry.name], 16)
    inputs = next(inputs for inputs, _ in session.data.batches("test", 16))
    (record,) = prove_transforms(session.graph.model, inputs, [entry.name], measured)
    assert record.max_difference is None or record.max_difference < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("entry", list(TRANSFORMS), ids=lambda e: e.name)
def test_a_run_with_it_verifies_in_the_runtime(entry, tmp_path: Path) -> None:
    session = workbench.open("digits-vit")
    recipe = Recipe(
        transforms=(entry.name,), stages=(Stage(method="rtn"),), calibration_examples=32
    )
    run = session.quantize(recipe=recipe, out=tmp_path / "run", extent=SHORT)
    assert run.report()["verification"]["ok"]
