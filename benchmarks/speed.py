"""The graph built from ONNX against the eager module it came from, paired in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import workbench

BATCH = 16
ROUNDS = 8


def efficientnet_ratio() -> dict[str, float]:
    """Median seconds of a batch of 16 for both, and their ratio."""
    from efficientnet_lite_pytorch import EfficientNet

    eager = EfficientNet.from_name("efficientnet-lite0").eval()
    session = workbench.open(eager, example_inputs=(torch.zeros(2, 3, 224, 224),))
    x = torch.randn(BATCH, 3, 224, 224)
    built, original = _paired(session.graph.module, eager, x)
    return {"built_seconds": built, "eager_seconds": original, "ratio": built / original}


def _paired(first: nn.Module, second: nn.Module, x: Tensor) -> tuple[float, float]:
    """Medians over alternating calls, after one warm-up of each."""
    times: tuple[list[float], list[float]] = ([], [])
    with torch.no_grad():
        for round_ in range(ROUNDS + 1):
            for module, kept in zip((first, second), times, strict=True):
                seconds = _seconds(module, x)
                if round_:
                    kept.append(seconds)
    return statistics.median(times[0]), statistics.median(times[1])


def _seconds(module: Callable[[Tensor], object], x: Tensor) -> float:
    start = time.perf_counter()
    module(x)
    return time.perf_counter() - start
