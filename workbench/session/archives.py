"""Arrays from strangers: an `.npz` is a zip, and each of its headers may lie."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.foundation.errors import DataError
from workbench.foundation.zips import GIB, Limits, members, open_zip

# Label arrays and blank images compress very well, so the ratio counts for large arrays only.
ARRAYS = Limits(entries=64, total=4 * GIB, free=2**28)


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
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"{where} does not fit into memory; give fewer examples") from None
    except Exception as error:  # noqa: BLE001 - a header is parsed as Python, which fails in any way
        raise DataError(f"{where} cannot be read ({error}); save it with numpy.savez") from None
    return entry.filename.removesuffix(".npy"), array
