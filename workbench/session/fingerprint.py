"""Whether data on disk are still what they were: a number that is cheap to take.

Up to 64 MiB in all the content counts, so that a copied or touched file stays the same. Beyond,
names, sizes and times of change stand for it, as they do for `make`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from workbench.foundation.errors import DataError

MAX_READ = 64 * 2**20
_PIECE = 2**20


def fingerprint(path: Path) -> str:
    """Of a file, or of all files below a folder; links are left out.

    Raises:
        DataError: it is not there or cannot be read.
    """
    try:
        files = _files(path) if path.is_dir() else [path]
        sizes = [file.stat().st_size for file in files]
        digest = hashlib.blake2b(digest_size=16)
        whole = sum(sizes) <= MAX_READ
        for file, size in zip(files, sizes, strict=True):
            name = "" if file == path else file.relative_to(path).as_posix()
            digest.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
            if whole:
                _add_content(digest, file)
            else:
                digest.update(str(file.stat().st_mtime_ns).encode())
    except OSError as error:
        raise DataError(f"the data '{path}' cannot be read ({error.strerror}); check it") from None
    return f"{sum(sizes)}-{digest.hexdigest()}"


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def _add_content(digest: hashlib.blake2b, file: Path) -> None:
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
