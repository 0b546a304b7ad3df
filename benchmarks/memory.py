"""Peak memory and disk of calibration over many examples, against a few.

    python -m benchmarks.memory [MODEL ...]

Each case runs in a process of its own: calibration (`rtn`) and Gram-space rounding (`gram`) at
4 bits for weights and activations, over 100 and over 10,000 examples. Where a data set has fewer it
is gone through again, each time moved by a little noise. Given are the peak of resident memory, the
most that learning adds to what the process holds before, the peak of temporary files, seconds,
and seconds of processor time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchmarks.resident import forget_peak, peak

if TYPE_CHECKING:
    from workbench.graph import Graph
    from workbench.methods.base import Task
    from workbench.session.session import Session

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


def measured(model: str, method: str, examples: int) -> dict[str, Any]:
    """One case, in a fresh process."""
    return alone("benchmarks.memory", model, method, str(examples))


def alone(module: str, *arguments: str) -> dict[str, Any]:
    """What `python -m MODULE --one ARGUMENTS FOLDER` prints last, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        found = subprocess.run(
            [sys.executable, "-m", module, "--one", *arguments, folder],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[1],
        )
    return json.loads(found.stdout.splitlines()[-1])


def one(model: str, method: str, examples: int, folder: Path) -> dict[str, object]:
    """Learn in this process, and say what it took."""
    import workbench
    from workbench.methods.base import Task

    session = workbench.open(model)
    task = Task(lambda: repeated(session, examples), examples)
    found = learning(session.graph, method, {}, task, folder)
    return {"model": model, "method": method, "examples": examples, **found}


def learning(
    graph: Graph, method: str, options: Mapping[str, object], task: Task, folder: Path
) -> dict[str, float]:
    """MiB, seconds and processor seconds of learning at 4 bits; `folder` gets temporary files.

    `peak_mib` is that of the process; `learning_mib` is what learning adds to what the process
    holds when the model is open and the data are loaded.
    """
    from workbench.graph.quantized import QuantizedGraph
    from workbench.graph.targets import ActivationGrid, WeightGrid, target
    from workbench.methods.registry import make

    tempfile.tempdir = str(folder)
    asked = WeightGrid(bits=4), ActivationGrid(bits=4)
    sites = target("ort-cpu").sites(graph, *asked, edges=8)
    quantized = QuantizedGraph(graph, sites).eval()
    torch.manual_seed(task.seed)
    next(iter(task.batches()))
    disk = _Disk(folder)
    opening = peak()
    before, start = forget_peak(), (time.perf_counter(), time.process_time())
    for _ in make(method, options).learn(quantized, task):
        pass
    seconds, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    return {
        "peak_mib": round(max(opening, peak())),
        "learning_mib": round(peak() - before),
        "disk_mib": round(disk.stop()),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
    }


def repeated(session: Session, examples: int) -> Iterator[tuple[Tensor, ...]]:
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
