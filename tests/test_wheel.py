"""The wheel holds what the program needs when it is not run from a checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CARRIED = {
    "sample_models/cards": "workbench/sample_models/cards",
    "sample_models/data": "workbench/sample_models/data",
    "workbench/views/js": "workbench/views/js",
}

pytestmark = pytest.mark.xdist_group("wheel")  # built once


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in a freshly built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built).namelist()


@pytest.mark.parametrize(("source", "target"), CARRIED.items(), ids=CARRIED)
def test_the_wheel_carries(wheel: list[str], source: str, target: str):
    folder = ROOT / source
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    expected = {f"{target}/{path.relative_to(folder).as_posix()}" for path in files}
    assert expected, f"'{source}' is empty"
    assert expected <= set(wheel)


def test_the_wheel_carries_the_models(wheel: list[str]):
    names = {path.name for path in (ROOT / "sample_models").glob("*.onnx")}
    assert len(names) == 5
    assert {f"workbench/sample_models/{name}" for name in names} <= set(wheel)


def test_the_wheel_carries_nothing_else(wheel: list[str]):
    assert {name.split("/")[0] for name in wheel} <= {
        "workbench",
        "quantization_workbench-0.1.0.dist-info",
    }
    assert not [name for name in wheel if "__pycache__" in name or "/train/" in name]
