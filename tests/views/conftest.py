"""Records for the view-models, made once."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load(name: str) -> ModuleType:
    """A helper module beside this file (tests are no packages)."""
    full = f"views_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    return sys.modules[full]


@pytest.fixture(scope="session")
def examples() -> ModuleType:
    """The functions of examples.py."""
    return _load("examples")


@pytest.fixture(scope="session")
def report(examples: ModuleType) -> dict[str, Any]:
    """A run's report made of real tensors."""
    return examples.report()
