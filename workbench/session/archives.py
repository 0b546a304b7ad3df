"""Archives from strangers, checked before a byte of them is unpacked.

A zip (and an `.npz` is one) may carry absolute names, `..`, symbolic links, millions of entries or
a bomb. `members` looks at the directory of the archive only, and refuses all of these. Nothing is
ever extracted to disk: members are read one at a time, into memory.
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from workbench.foundation.errors import DataError

GIB = 2**30


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


IMAGES = Limits(each=64 * 2**20)
# Label arrays and blank images compress very well, so arrays are held by their size alone.
ARRAYS = Limits(entries=64, total=4 * GIB, ratio=float("inf"))


def open_zip(path: Path) -> zipfile.ZipFile:
    """The archive at `path`, or `DataError` when it is not a readable zip."""
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise DataError(f"there is no file '{path}'; check the path") from None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(
            f"'{path}' is not a readable zip archive ({error}); make it again"
        ) from None


def members(archive: zipfile.ZipFile, limits: Limits) -> list[zipfile.ZipInfo]:
    """The file entries of `archive` after all checks, or `DataError` naming the first bad one."""
    entries = archive.infolist()
    where = f"'{archive.filename}'"
    if len(entries) > limits.entries:
        raise DataError(
            f"{where} holds {len(entries)} entries; the limit is {limits.entries}: use fewer"
        )
    total = sum(entry.file_size for entry in entries)
    if total > limits.total:
        raise DataError(
            f"{where} unpacks to {total / GIB:.1f} GiB; the limit is {limits.total / GIB:.0f} GiB:"
            " use fewer examples"
        )
    for entry in entries:
        _check(entry, limits, where)
    return [entry for entry in entries if not entry.is_dir()]


def load_npz(path: Path, limits: Limits = ARRAYS) -> dict[str, NDArray[np.generic]]:
    """The arrays of an `.npz`; each header is compared with the entry's size before it is read.

    Raises:
        DataError: not an `.npz`, too large, pickled objects, or a header that lies.
    """
    with open_zip(path) as archive:
        entries = members(archive, limits)
        return dict(_array(archive, entry) for entry in entries)


def shapes(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """`images (10, 28, 28) uint8, labels (10,) int64`, for messages."""
    return ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in arrays.items())


def _check(entry: zipfile.ZipInfo, limits: Limits, where: str) -> None:
    fault = _name_fault(entry) or _size_fault(entry, limits)
    if fault:
        name = entry.filename[:80]
        raise DataError(f"{where} is refused: its entry {name!r} {fault}; pack the files again")


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


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[str, NDArray[np.generic]]:
    where = f"'{archive.filename}': array '{entry.filename}'"
    try:
        with archive.open(entry) as stream:
            version = np.lib.format.read_magic(stream)
            reader = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = reader(stream)
            promised = stream.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if dtype.hasobject:
            raise DataError(f"{where} holds Python objects, which can run code; save numbers only")
        if promised != entry.file_size:
            raise DataError(f"{where} is {entry.file_size} bytes but promises {promised}")
        with archive.open(entry) as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, RuntimeError) as error:
        raise DataError(f"{where} cannot be read ({error}); save it with numpy.savez") from None
    return entry.filename.removesuffix(".npy"), array
