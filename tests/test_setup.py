"""The set-up script decides right, and does nothing twice."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The script as a module, with its own stamp, and with every command refused."""
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "scripts" / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "STAMP", tmp_path / "stamp.txt")
    monkeypatch.setattr(module, "run", lambda command: pytest.fail(f"ran {command}"))
    monkeypatch.setattr(module, "say", lambda message: None)
    return module


def fake_pip(tmp_path: Path, *lines: str) -> tuple[str, str]:
    """A program that prints what pip would, and then takes its time as a download does."""
    script = tmp_path / "pip.py"
    script.write_text(f"import time\nprint({chr(10).join(lines)!r}, flush=True)\ntime.sleep(2)\n")
    return sys.executable, str(script)


def test_a_dry_run_is_stopped_at_the_first_cuda_package(setup, monkeypatch, tmp_path):
    pip = fake_pip(
        tmp_path, "Collecting torch==2.13.0", "Collecting nvidia-cublas==13.0.2 (from t)"
    )
    monkeypatch.setattr(setup, "PIP", pip)
    started = time.monotonic()
    assert setup.brings_cuda("torch")
    assert time.monotonic() - started < 1.5


def test_a_cpu_resolution_is_recognised(setup, monkeypatch, tmp_path):
    monkeypatch.setattr(setup, "PIP", fake_pip(tmp_path, "Collecting torch", "Collecting sympy"))
    assert not setup.brings_cuda("torch")


@pytest.mark.parametrize(
    ("gpu", "cuda", "from_cpu_index"),
    [(False, True, True), (False, False, False), (True, True, False)],
)
def test_the_cpu_build_is_taken_only_where_it_is_the_smaller_one(
    setup, monkeypatch, gpu, cuda, from_cpu_index
):
    ran: list[tuple] = []
    monkeypatch.setattr(setup, "has_gpu", lambda: gpu)
    monkeypatch.setattr(setup, "brings_cuda", lambda *requirement: cuda)
    monkeypatch.setattr(setup, "run", lambda command: ran.append(tuple(map(str, command))))
    setup.install_torch()
    assert [setup.CPU_INDEX in command for command in ran] == [True] * from_cpu_index


def test_a_second_run_does_nothing(setup):
    setup.STAMP.write_text(f"{setup.pins_key()}\ndev\nzoo")
    setup.set_up({"dev"})


def test_new_pins_are_installed_with_the_extras_that_were_there(setup, monkeypatch):
    installed: list[list[str]] = []
    setup.STAMP.write_text("older\ndev\nzoo")
    for step in ("create_venv", "install_torch"):
        monkeypatch.setattr(setup, step, lambda: None)
    monkeypatch.setattr(setup, "install_project", installed.append)
    monkeypatch.setattr(setup, "install_files_of", lambda packages: None)
    setup.set_up({"dev"})
    setup.set_up({"zoo"})
    assert installed == [["dev", "zoo"]]


@pytest.mark.parametrize("extras", [{"dev"}, {"dev", "zoo"}])
def test_files_of_the_zoo_come_without_dependencies(setup, monkeypatch, extras):
    ran: list[tuple] = []
    for step in ("create_venv", "install_torch"):
        monkeypatch.setattr(setup, step, lambda: None)
    monkeypatch.setattr(setup, "install_project", lambda extras: None)
    monkeypatch.setattr(setup, "run", lambda command: ran.append(tuple(map(str, command))))
    setup.set_up(extras)
    assert ["--no-deps" in command for command in ran] == [True] * ("zoo" in extras)


def test_a_missing_venv_module_is_explained(setup, monkeypatch, tmp_path):
    monkeypatch.setattr(setup, "VENV_PYTHON", tmp_path / "absent")
    monkeypatch.setattr(setup.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(setup, "apt_install", lambda package: False)
    with pytest.raises(setup.SetupError, match=r"sudo apt-get install python3\.\d+-venv"):
        setup.create_venv()


def test_a_missing_chromium_is_explained(setup, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(setup, "find_chromium", lambda: None)
    monkeypatch.setattr(setup, "apt_install", lambda package: False)
    monkeypatch.setattr(setup, "say", said.append)
    setup.provide_chromium()
    assert "browser tests will be skipped" in said[0]


def test_every_dependency_is_pinned(setup):
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    required = [
        *project["dependencies"],
        *extras["dev"],
        *extras["zoo"],
        *extras["ray"],
        *setup.bare_packages(),
    ]
    for requirement in [*required, "pip"]:
        name = requirement.split(">")[0].split("=")[0]
        assert setup.pin(name).startswith(f"{name}==")
