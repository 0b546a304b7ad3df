"""Where the file will run: which sites are quantized and which grids are legal there."""

from __future__ import annotations

from workbench.foundation.errors import TargetError
from workbench.graph.targets.base import Plan, Target
from workbench.graph.targets.coverage import Coverage, NodeCoverage, coverage
from workbench.graph.targets.nothing import why_nothing
from workbench.graph.targets.npu import NPU_INT
from workbench.graph.targets.ort import ORT_CPU, ORT_CPU_VNNI
from workbench.graph.targets.requests import ActivationGrid, Override, WeightGrid
from workbench.graph.targets.rules import Rule
from workbench.graph.targets.tensorrt import TENSORRT
from workbench.graph.targets.weight_only import WEIGHT_ONLY

__all__ = [
    "TARGETS",
    "ActivationGrid",
    "Coverage",
    "NodeCoverage",
    "Override",
    "Plan",
    "Rule",
    "Target",
    "WeightGrid",
    "coverage",
    "target",
    "why_nothing",
]

TARGETS: dict[str, Target] = {
    found.name: found for found in (ORT_CPU, ORT_CPU_VNNI, TENSORRT, NPU_INT, WEIGHT_ONLY)
}


def target(name: str) -> Target:
    """The target called `name`, or a `TargetError` that lists those known."""
    if name not in TARGETS:
        raise TargetError(f"unknown target '{name}'; known are: {', '.join(TARGETS)}")
    return TARGETS[name]
