"""Zip archives from strangers, checked before a byte of them is unpacked.

A zip (and an `.npz` is one) may carry absolute names, `..`, symbolic links, millions of entries or
a bomb. `members` looks at the directory of the archive only, and refuses all of these. Nothing is
ever extracted to disk: members are read one at a time, into memory.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from workbench.foundation.errors import DataError, WorkbenchError

GIB = 2**30

#: what reading a member of a damaged archive raises
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


@dataclass(frozen=True)
class Limits:
    """What an archive may hold: entries, bytes in all and for each entry, and compression ratio.

    The ratio counts only for entries above `free` bytes: small ones cannot hurt.
    """

    entries: int = 200_000
    total: int = 16 * GIB
    each: int = 4 * GIB
    ratio: float = 200.0
    free: int = 2**20


def open_zip(path: Path, error: type[WorkbenchError] = DataError) -> zipfile.ZipFile:
    """The archive at `path`, or an `error` when it is not a readable zip."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise error(f"'{path}' is not a regular file; give the path of a zip archive")
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise error(f"there is no file '{path}'; check the path") from None
    except BROKEN as fault:
        raise error(f"'{path}' is not a readable zip archive ({fault}); make it again") from None


def members(
    archive: zipfile.ZipFile, limits: Limits, error: type[WorkbenchError] = DataError
) -> list[zipfile.ZipInfo]:
    """The file entries of `archive` after all checks, or an `error` naming the first bad one."""
    entries = archive.infolist()
    where = f"'{archive.filename}'"
    if len(entries) > limits.entries:
        raise error(
            f"{where} holds {len(entries)} entries; the limit is {limits.entries}: use fewer"
        )
    total = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if total > limits.free and total > limits.ratio * max(1, packed):
        raise error(
            f"{where} is compressed {total / max(1, packed):.0f} times, and the limit is"
            f" {limits.ratio:.0f}; pack the files again"
        )
    if total > limits.total:
        raise error(
            f"{where} unpacks to {total / GIB:.1f} GiB; the limit is {limits.total / GIB:.0f} GiB:"
            " pack less"
        )
    names: set[str] = set()
    for entry in entries:
        fault = _name_fault(entry) or _size_fault(entry, limits)
        fault = fault or ("is there twice" if entry.filename in names else "")
        names.add(entry.filename)
        if fault:
            name = entry.filename[:80]
            raise error(f"{where} is refused: its entry {name!r} {fault}; pack the files again")
    return [entry for entry in entries if not entry.is_dir()]


def _name_fault(entry: zipfile.ZipInfo) -> str:
    name = PurePosixPath(entry.filename.replace("\\", "/"))
    if name.is_absolute() or (name.parts and ":" in name.parts[0]):
        return "has an absolute path"
    if ".." in name.parts:
        return "climbs out with '..'"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a symbolic link"
    return "is encrypted" if entry.flag_bits & 0x1 else ""


def _size_fault(entry: zipfile.ZipInfo, limits: Limits) -> str:
    if entry.file_size > limits.each:
        return f"unpacks to {entry.file_size} bytes (limit {limits.each})"
    ratio = entry.file_size / max(1, entry.compress_size)
    if entry.file_size > limits.free and ratio > limits.ratio:
        return f"is compressed {ratio:.0f} times (limit {limits.ratio:.0f})"
    return ""
