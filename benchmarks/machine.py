"""Where and when something was measured, for the record."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime
import torch

import workbench


def stamp() -> dict[str, Any]:
    """Fields of a record: the machine with its versions, the day (UTC), and how busy it was.

    `load` is the mean number of processes that ran or wanted to, over the last minute.
    """
    load = round(os.getloadavg()[0], 1)
    return {"machine": machine(), "date": f"{datetime.now(UTC):%Y-%m-%d}", "load": load}


@cache
def machine() -> str:
    """Cores, processor and versions in one line."""
    return (
        f"{os.cpu_count()} cores of {_processor()}, {platform.system()},"
        f" Python {platform.python_version()}, torch {torch.__version__},"
        f" ONNX Runtime {onnxruntime.__version__}, workbench {workbench.__version__}"
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
