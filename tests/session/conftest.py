"""A network small enough to be quantized in a second, and data for it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import workbench

SIDE, CLASSES, EXAMPLES = 8, 4, 96


def network() -> nn.Module:
    """(N, 1, 8, 8) to (N, 4)."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, CLASSES),
    )


def examples() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((EXAMPLES, 1, SIDE, SIDE)).astype(np.float32)
    return images, rng.integers(0, CLASSES, EXAMPLES)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs, caches and relative paths of a test stay in its own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    return tmp_path


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network as an ONNX file."""
    path = tmp_path_factory.mktemp("models") / "tiny.onnx"
    session = workbench.open(network(), example_inputs=(torch.zeros(2, 1, SIDE, SIDE),))
    session.save(path)
    return path


@pytest.fixture(scope="session")
def tiny_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its data."""
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    images, labels = examples()
    np.savez(path, images=images, labels=labels)
    return path


@pytest.fixture
def tiny(tiny_path: Path, tiny_npz: Path) -> workbench.Session:
    """A session on both."""
    return workbench.open(tiny_path, data=tiny_npz)
