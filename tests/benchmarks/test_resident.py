"""A process's peak is its own: not that of the process that started it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.resident import forget_peak, peak

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")


def test_a_child_of_a_large_process_starts_small() -> None:
    held = np.ones(60 << 20, dtype=np.uint8)
    code = "from benchmarks.resident import peak; print(peak())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert 1 < float(done.stdout) < forget_peak() - 30
    assert held.all()


def test_a_peak_is_seen_and_forgotten() -> None:
    before = forget_peak()
    held = np.ones(300 << 20, dtype=np.uint8)
    assert held.all()
    assert peak() > before + 150
    del held
    forget_peak()
    assert peak() < before + 150
