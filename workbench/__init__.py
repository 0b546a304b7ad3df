"""A workbench for learning-based quantization of neural networks.

    session = workbench.open("digits-mobilenet")        # or a path, or a live nn.Module
    run = session.quantize(weights=4, activations=8, method="gram")
    run.scores, run.layers, run.model
    run.export("model.onnx").verify()

Everything heavy is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from workbench.session.recipe import Recipe
    from workbench.session.runs import Run
    from workbench.session.session import Session, open  # noqa: A004 - `workbench.open` reads well
    from workbench.session.version import VERSION as __version__  # noqa: N811 - tools look for it

    course: ModuleType  # the doors lie above everything else: named here, imported when used
    demo: ModuleType
    widgets: ModuleType

__all__ = ["Recipe", "Run", "Session", "__version__", "course", "demo", "open", "widgets"]

_MODULES = ("course", "demo", "widgets")

_PLACES = {
    "Recipe": "workbench.session.recipe",
    "Run": "workbench.session.runs",
    "Session": "workbench.session.session",
    "open": "workbench.session.session",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("workbench.session.version").VERSION
    if name in _MODULES:
        return importlib.import_module(f"workbench.{name}")
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'workbench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
