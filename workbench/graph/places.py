"""Where the bytes of a model lie: a file with plain files beside it, or a zip that holds both.

External data is a path in a stranger's file. It is read only where it names a plain file in the
same folder (or a member of the same zip), regular and with one link, so that no path, symbolic
link or hard link leads anywhere else. A zip is never unpacked to disk.
"""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from workbench.foundation.errors import ModelError
from workbench.foundation.zips import BROKEN, Limits, members, open_zip

_ENTRIES = 10_000


class Place(Protocol):
    """A model's bytes, and those beside it.

    Attributes:
        name: what messages call the model.
    """

    name: str

    def model(self) -> bytes:
        """The `.onnx` file itself."""
        ...

    def size(self, location: str) -> int | None:
        """Bytes of the external data called `location`, a plain name; None if it is not allowed.

        Raises:
            FileNotFoundError: it is not there.
        """
        ...

    def read(self, location: str, offset: int, length: int) -> bytes:
        """That part of the external data; shorter where the file ends."""
        ...


def place_of(path: Path, max_bytes: int) -> Place:
    """The place at `path`, an `.onnx` or `.zip` file.

    Raises:
        ModelError: neither, not readable, or larger than `max_bytes`.
    """
    try:
        info = path.stat()
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the model file '{path}' cannot be read ({reason(error)}); check the path"
        ) from None
    if not stat.S_ISREG(info.st_mode):
        raise ModelError(f"'{path}' is not a regular file; give the path of an .onnx file")
    if path.suffix.lower() not in (".onnx", ".zip"):
        raise ModelError(
            f"'{path.name}' does not end in .onnx or .zip; checkpoints and pickles are not read: "
            "export the model to ONNX, or rename the file"
        )
    if info.st_size == 0:
        raise ModelError(f"'{path.name}' is empty; export or download the model again")
    if info.st_size > max_bytes:
        raise too_large(path.name, info.st_size, max_bytes)
    return Zipped(path, max_bytes) if path.suffix.lower() == ".zip" else Beside(path, max_bytes)


def too_large(name: str, size: int, limit: int) -> ModelError:
    """The error for more bytes than allowed."""
    return ModelError(
        f"'{name}' has '{size}' bytes, above the limit of '{limit}'; raise max_bytes if you trust "
        "the file"
    )


def is_plain(location: str) -> bool:
    """True for the name of a file in the same folder."""
    plain = location not in ("", ".", "..") and len(location) < 256
    return plain and not any(mark in location for mark in "/\\\0")


def reason(error: Exception) -> str:
    """Why the system refused, in its words."""
    return getattr(error, "strerror", None) or str(error)


class Beside:
    """An `.onnx` file, with external data as plain files beside it."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.name = path.name
        self._path = path
        self._max_bytes = max_bytes

    def model(self) -> bytes:
        try:
            with self._path.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                data = stream.read(min(size, self._max_bytes) + 1)  # room is made for all of it
        except OSError as error:
            raise ModelError(
                f"the model file '{self._path}' cannot be read ({reason(error)}); check its "
                "permissions"
            ) from None
        if len(data) > self._max_bytes:
            raise too_large(self.name, len(data), self._max_bytes)
        return data

    def size(self, location: str) -> int | None:
        info = (self._path.parent / location).lstat()
        return info.st_size if _is_lone(info) else None

    def read(self, location: str, offset: int, length: int) -> bytes:
        with _open_lone(self._path.parent / location) as stream:
            stream.seek(offset)
            return stream.read(length)


def _is_lone(info: os.stat_result) -> bool:
    """A regular file with one link: nobody else's file under another name."""
    return stat.S_ISREG(info.st_mode) and info.st_nlink == 1


def _open_lone(path: Path) -> BinaryIO:
    """`path` opened without following a link, and looked at again once it is open."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not _is_lone(os.fstat(handle)):
        os.close(handle)
        raise OSError("it is no longer a plain file")
    return os.fdopen(handle, "rb")


class Zipped:
    """A zip with one `.onnx` in it, and external data in the same folder of the zip."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        limits = Limits(entries=_ENTRIES, total=max_bytes, each=max_bytes)
        self._archive = open_zip(path, ModelError)
        found = members(self._archive, limits, ModelError)
        self._members = {entry.filename: entry for entry in found}
        models = [name for name in self._members if _is_model(name)]
        if len(models) != 1:
            raise ModelError(
                f"'{path.name}' holds '{len(models)}' .onnx files, and one is needed; pack one "
                ".onnx file with its external data"
            )
        self._model = PurePosixPath(models[0])
        self.name = f"{path.name}/{self._model.name}"
        self._read: dict[str, bytes] = {}

    def model(self) -> bytes:
        return self._unpacked(str(self._model))

    def size(self, location: str) -> int | None:
        return self._entry(location).file_size

    def read(self, location: str, offset: int, length: int) -> bytes:
        name = self._entry(location).filename
        if name not in self._read:  # one pass for each member: a zip cannot be read at a place
            self._read[name] = self._unpacked(name)
        return self._read[name][offset : offset + length]

    def _entry(self, location: str) -> zipfile.ZipInfo:
        name = str(self._model.parent / location)
        if name not in self._members:
            raise FileNotFoundError(location)
        return self._members[name]

    def _unpacked(self, name: str) -> bytes:
        try:
            return self._archive.read(self._members[name])
        except BROKEN as error:
            raise ModelError(
                f"'{name}' in '{self._archive.filename}' is damaged ({error}); pack it again"
            ) from None


def _is_model(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() == ".onnx" and "__MACOSX" not in path.parts
