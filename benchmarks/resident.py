"""Resident memory of this process, as Linux counts it, in MiB.

`getrusage` will not do: its peak begins with that of the process that started this one.
"""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident() -> float:
    """What is resident now."""
    return _field("VmRSS")


def peak() -> float:
    """The most that was, since `forget_peak`."""
    return _field("VmHWM")


def forget_peak() -> None:
    """Count from now on."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _field(name: str) -> float:
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))
