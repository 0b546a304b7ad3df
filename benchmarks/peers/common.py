"""What a peer's script shares with the others; beside NumPy it needs the standard library only.

A script is run as `PYTHON -m benchmarks.peers.NAME FOLDER CASE`, with `float.onnx`,
`calibration.npy` and `test.npy` in the folder. It leaves `simulated.npy` (logits of the test
pictures), `quantized.onnx` where the tool exports one that ONNX Runtime can run, and
`record.json`: seconds, processor seconds, peak memory. Loading the model and judging it are not
counted.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.resident import peak

BATCH = 20
INPUT = "inputs"  # of the network
Case = Callable[[Path], None]


class Stopwatch:
    """Counts what lies between `start` and `stop`."""

    def __init__(self) -> None:
        self._began = (0.0, 0.0)
        self.seconds = self.cpu_seconds = 0.0

    def start(self) -> None:
        """Begin to count."""
        self._began = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """Stop counting."""
        self.seconds = time.perf_counter() - self._began[0]
        self.cpu_seconds = time.process_time() - self._began[1]


WATCH = Stopwatch()


def batches(folder: Path, name: str, size: int = BATCH) -> list[np.ndarray[Any, Any]]:
    """The pictures of a split, batch by batch."""
    pictures = np.load(folder / f"{name}.npy")
    return [pictures[i : i + size] for i in range(0, len(pictures), size)]


def main(cases: Mapping[str, Case]) -> None:
    """Run the case that the command line names, and leave the record."""
    folder, name = Path(sys.argv[1]), sys.argv[2]
    cases[name](folder)
    record = {
        "seconds": round(WATCH.seconds, 1),
        "cpu_seconds": round(WATCH.cpu_seconds, 1),
        "peak_gib": round(peak() / 1024, 2),
    }
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
