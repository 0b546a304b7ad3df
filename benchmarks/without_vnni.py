"""Run a command in which ONNX Runtime sees a processor without AVX-512, VNNI and AMX.

    python -m benchmarks.without_vnni COMMAND...
    python -m benchmarks.without_vnni python -m workbench.cli doctor

Where a processor lacks VNNI, ONNX Runtime's int8 kernels add two products of a uint8 and an int8 in
16 bits, which saturate. To see those kernels on a machine that has VNNI, and at full speed, the
choice that ONNX Runtime makes when it starts has to go the other way. So

1. the onnxruntime package is copied to a cache directory; the installed one is never touched;
2. in the copy each CPUID instruction (0F A2) becomes UD2 (0F 0B), an illegal instruction of the
   same length. Disassembly tells instructions from the same two bytes elsewhere;
3. `without_vnni.c` is compiled and preloaded. Its SIGILL handler answers in the instruction's
   place, with the bits of AVX-512, VNNI and AMX cleared.

Nothing is slowed down: CPUID is executed a few dozen times, at start. The kernels that are then
chosen are the AVX2 ones, compiled as they are for everyone. PyTorch and everything else in the
process see the processor as it is. For measurement only; needs Linux on x86-64, gcc and objdump.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

CPUID, UD2 = b"\x0f\xa2", b"\x0f\x0b"
SOURCE = Path(__file__).with_suffix(".c")
MODULE = "onnxruntime_pybind11_state*.so"


class RigError(Exception):
    """This machine cannot hide its instructions; the message says what is missing."""


def environment() -> dict[str, str]:
    """Variables under which Python loads the changed copy, which is made where it is missing.

    Raises:
        RigError: not Linux on x86-64, no compiler or disassembler, or nothing found to replace.
    """
    _require()
    folder = _folder()
    if not folder.exists():
        _make(folder)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    preload = [str(folder / "cpuid.so"), *filter(None, [os.environ.get("LD_PRELOAD")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "LD_PRELOAD": " ".join(preload)}


def call(command: Sequence[str]) -> str:
    """Standard output of a command under the rig.

    Raises:
        RigError: as `environment`.
        CalledProcessError: the command fails.
    """
    merged = {**os.environ, **environment()}
    done = subprocess.run(list(command), env=merged, text=True, check=True, stdout=subprocess.PIPE)
    return done.stdout


def _require() -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise RigError(f"the rig needs Linux on x86-64, not '{sys.platform} {platform.machine()}'")
    missing = [tool for tool in ("gcc", "objdump") if shutil.which(tool) is None]
    if missing:
        raise RigError(f"'{missing[0]}' is missing; install gcc and binutils")


def _folder() -> Path:
    """Where the copy lies: it changes with onnxruntime's library and with the C source."""
    digest = hashlib.blake2b(SOURCE.read_bytes() + Path(__file__).read_bytes(), digest_size=8)
    library = _library(_installed())
    digest.update(f"{library}{library.stat().st_size}{library.stat().st_mtime_ns}".encode())
    cache = os.environ.get("WORKBENCH_CACHE") or Path.home() / ".cache" / "quantization-workbench"
    return Path(cache) / f"without-vnni-{digest.hexdigest()}"


def _installed() -> Path:
    found = importlib.util.find_spec("onnxruntime")
    if found is None or found.origin is None:
        raise RigError("onnxruntime is not installed; run 'make setup' first")
    return Path(found.origin).parent


def _library(package: Path) -> Path:
    return next((package / "capi").glob(MODULE))


def _make(folder: Path) -> None:
    """Build beside `folder`, then move into place, so that two processes cannot meet halfway."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
        package = Path(draft) / "copy" / "onnxruntime"
        shutil.copytree(_installed(), package, ignore=shutil.ignore_patterns("__pycache__"))
        _replace(_library(package))
        _compile(package.parent / "cpuid.so")
        try:
            package.parent.rename(folder)
        except OSError:
            if not folder.exists():
                raise


def _replace(library: Path) -> int:
    """Change every CPUID of the library to UD2; how many there were."""
    data = bytearray(library.read_bytes())
    places = list(_cpuid_offsets(library))
    if not places:
        raise RigError(f"'{library.name}' holds no CPUID instruction; the rig does not fit it")
    for place in places:
        if data[place : place + 2] != CPUID:
            raise RigError(f"'{library.name}' holds no CPUID at '{place:#x}'; the rig is wrong")
        data[place : place + 2] = UD2
    library.write_bytes(data)
    return len(places)


def _cpuid_offsets(library: Path) -> Iterator[int]:
    """Offsets in the file of the instructions that objdump finds in the code."""
    sections = list(_sections(library))
    command = ["objdump", "-d", "--no-show-raw-insn", str(library)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            address, _, instruction = line.partition(":\t")
            if instruction.strip() == "cpuid":
                yield _offset(int(address, 16), sections)


def _sections(library: Path) -> Iterator[tuple[int, int, int]]:
    """(address, size, offset in the file) of each section."""
    command = ["objdump", "-h", str(library)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        parts = line.split()
        if len(parts) == 7 and parts[0].isdigit():
            yield int(parts[3], 16), int(parts[2], 16), int(parts[5], 16)


def _offset(address: int, sections: Sequence[tuple[int, int, int]]) -> int:
    for start, size, offset in sections:
        if start <= address < start + size:
            return address - start + offset
    raise RigError(f"address '{address:#x}' lies in no section; the rig is wrong")


def _compile(target: Path) -> None:
    command = ["gcc", "-O2", "-Wall", "-shared", "-fPIC", str(SOURCE), "-o", str(target), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigError(f"gcc failed: {done.stderr.strip().splitlines()[0]}")


def main() -> int:
    """Run the command given; its exit code."""
    if len(sys.argv) < 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        variables: Mapping[str, str] = {**os.environ, **environment()}
    except RigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    command = [sys.executable if sys.argv[1] == "python" else sys.argv[1], *sys.argv[2:]]
    return subprocess.run(command, env=dict(variables), check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
