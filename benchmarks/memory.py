"""Peak memory and disk of calibration over many examples, against a few.

    python -m benchmarks.memory [MODEL ...]

Each case runs in a process of its own: calibration (`rtn`) and Gram-space rounding (`gram`) at
4 bits for weights and activations, over 100 and over 10,000 examples. Where a data set has fewer it
is gone through again, each time moved by a little noise. Given are the peak of resident memory, the
same beyond what the process holds before learning starts, the peak of temporary files, and seconds.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

MODELS = ("digits-mobilenet",)
METHODS = ("rtn", "gram")
FEW, MANY = 100, 10_000
BATCH = 50
MIB = 1 << 20


def rows(model: str, few: int = FEW, many: int = MANY) -> Iterator[Mapping[str, object]]:
    """A record for each method and number of examples, then the ratio of the two."""
    for method in METHODS:
        pair = [measured(model, method, count) for count in (few, many)]
        yield from pair
        ratio = pair[1]["peak_mib"] / pair[0]["peak_mib"]
        yield {"model": model, "method": method, "ratio": round(ratio, 3)}


def measured(model: str, method: str, examples: int) -> dict[str, float]:
    """One case, in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.memory", "--one", model, method, str(examples)]
        found = subprocess.run(
            [*command, folder],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[1],
        )
    return json.loads(found.stdout.splitlines()[-1])


def one(model: str, method: str, examples: int, folder: Path) -> dict[str, object]:
    """Learn in this process, and say what it took."""
    import workbench
    from workbench.graph.quantized import QuantizedGraph
    from workbench.graph.targets import ActivationGrid, WeightGrid, target
    from workbench.methods.base import Task
    from workbench.methods.registry import make

    tempfile.tempdir = str(folder)
    session = workbench.open(model)
    asked = WeightGrid(bits=4), ActivationGrid(bits=4)
    sites = target("ort-cpu").sites(session.graph, *asked, edges=8)
    quantized = QuantizedGraph(session.graph, sites).eval()
    task = Task(lambda: _batches(session, examples), examples)
    disk = _Disk(folder)
    before, start = _peak(), time.perf_counter()
    for _ in make(method, {}).learn(quantized, task):
        pass
    return {
        "model": model,
        "method": method,
        "examples": examples,
        "peak_mib": round(_peak()),
        "learning_mib": round(_peak() - before),
        "disk_mib": round(disk.stop()),
        "seconds": round(time.perf_counter() - start, 1),
    }


def _batches(session, examples: int) -> Iterator[tuple[Tensor, ...]]:
    """The calibration inputs, again and again with fresh noise, until so many have been given."""
    generator = torch.Generator().manual_seed(0)
    given = 0
    while given < examples:
        for inputs, _ in session.data.batches("calibration", BATCH):
            kept = inputs[0][: examples - given]
            noise = torch.randn(kept.shape, generator=generator)
            yield (kept + 0.01 * noise,)
            given += len(kept)
            if given >= examples:
                return


def _peak() -> float:
    """Largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class _Disk:
    """The most that the files below a folder ever took, in MiB, looked at ten times a second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._most = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._ended.set()
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self._most = max(self._most, sum(map(_size, self._folder.rglob("*.pt"))) / MIB)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # removed in the meantime
        return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        name, asked_method, count, place = sys.argv[2:]
        print(json.dumps(one(name, asked_method, int(count), Path(place))))
    else:
        for model_name in sys.argv[1:] or MODELS:
            for row in rows(model_name):
                print(json.dumps(row), flush=True)
