"""Resident memory of this process, as Linux counts it, in MiB; elsewhere 0.

`getrusage` will not do: its peak begins with that of the process that started this one.
"""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak() -> float:
    """The most that was, since `forget_peak`."""
    return _field("VmHWM")


def forget_peak() -> float:
    """Count from now on; what is resident now. Where that may not be, the peak that stays."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return peak()
    return _field("VmRSS")


def _field(name: str) -> float:
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))
