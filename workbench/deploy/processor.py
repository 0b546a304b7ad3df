"""What this processor can do with 8-bit integers, as far as the operating system says."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")

#: feature -> flags of /proc/cpuinfo that mean it, on x86 and on Arm
FLAGS: dict[str, tuple[str, ...]] = {
    "avx2": ("avx2",),
    "avx512": ("avx512f",),
    "avx512_vnni": ("avx512_vnni",),
    "avx_vnni": ("avx_vnni",),
    "amx_int8": ("amx_int8",),
    "dot_product": ("asimddp",),
    "i8mm": ("i8mm",),
}
X86 = ("avx2", "avx512", "avx512_vnni", "avx_vnni", "amx_int8")
ARM = ("dot_product", "i8mm")

#: feature -> sysctl entry of macOS
SYSCTL = {
    "avx2": "hw.optional.avx2_0",
    "avx512": "hw.optional.avx512f",
    "avx512_vnni": "hw.optional.avx512vnni",
    "dot_product": "hw.optional.arm.FEAT_DotProd",
    "i8mm": "hw.optional.arm.FEAT_I8MM",
}
#: feature -> argument of IsProcessorFeaturePresent, Windows
WINDOWS = {"avx2": 40, "avx512": 41, "dot_product": 43}


@dataclass(frozen=True)
class Processor:
    """Facts about the processor.

    Attributes:
        architecture: such as "x86_64" or "arm64"; system: the operating system.
        vendor, model: in its maker's words; "" where the system does not say.
        cores: that this process may use.
        features: whether it has each of those that its architecture may have; None where the
            system does not say.
    """

    architecture: str
    system: str
    vendor: str
    model: str
    cores: int
    features: Mapping[str, bool | None]

    @property
    def vnni(self) -> bool | None:
        """Whether pairs of 8-bit products are summed in 32 bits: VNNI, or Arm's dot product."""
        known = [self.features.get(key) for key in ("avx512_vnni", "avx_vnni", "dot_product")]
        return True if any(known) else False if False in known else None

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "features": dict(self.features)}


def processor() -> Processor:
    """The processor that this process runs on."""
    architecture = platform.machine() or "unknown"
    names = ARM if architecture.lower() in ("arm64", "aarch64") else X86
    vendor, model, found = _facts()
    features = {name: found.get(name) for name in names}
    return Processor(architecture, platform.system(), vendor, model, _cores(), features)


def _facts() -> tuple[str, str, Mapping[str, bool]]:
    if sys.platform == "linux":
        return from_cpuinfo(CPUINFO.read_text(errors="replace") if CPUINFO.exists() else "")
    if sys.platform == "darwin":
        features = {key: _sysctl(entry) == "1" for key, entry in SYSCTL.items() if _sysctl(entry)}
        return _sysctl("machdep.cpu.vendor"), _sysctl("machdep.cpu.brand_string"), features
    if sys.platform == "win32":
        asked = ctypes.windll.kernel32.IsProcessorFeaturePresent
        return "", platform.processor(), {key: bool(asked(n)) for key, n in WINDOWS.items()}
    return "", platform.processor(), {}


def from_cpuinfo(text: str) -> tuple[str, str, Mapping[str, bool]]:
    """Vendor, model and features out of the text of /proc/cpuinfo."""
    lines = (line.partition(":") for line in text.splitlines())
    fields: dict[str, str] = {}
    for key, _, value in lines:
        fields.setdefault(key.strip().lower(), value.strip())
    words = set((fields.get("flags") or fields.get("features") or "").split())
    features = {name: any(f in words for f in flags) for name, flags in FLAGS.items()}
    vendor = fields.get("vendor_id") or fields.get("cpu implementer") or ""
    model = fields.get("model name") or fields.get("cpu part") or ""
    return vendor, model, features if words else {}


def _sysctl(entry: str) -> str:
    done = subprocess.run(["sysctl", "-n", entry], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
