"""Files of any kind as the first and last bytes that a classifier of file types looks at.

A file's type, by its extension, is its label. Files whose extension says nothing are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.foundation.errors import DataError
from workbench.session.sources import InputSpec

MOST_EACH = 64


@dataclass(frozen=True)
class Ends:
    """How a file becomes numbers.

    Attributes:
        first, last: bytes that count at either end, white space stripped.
        block: bytes that are read at either end.
        padding: the number that fills up short files, in the middle.
    """

    first: int = 1024
    last: int = 1024
    block: int = 4096
    padding: int = 256

    def read(self, path: Path) -> NDArray[np.int64]:
        """`(first + last,)` numbers from 0 to `padding`."""
        with path.open("rb") as stream:
            head = stream.read(self.block).lstrip()[: self.first]
            stream.seek(max(0, path.stat().st_size - self.block))
            tail = stream.read(self.block).rstrip()[-self.last :]
        numbers = np.full(self.first + self.last, self.padding, np.int64)
        numbers[: len(head)] = np.frombuffer(head, np.uint8)
        numbers[len(numbers) - len(tail) :] = np.frombuffer(tail, np.uint8)
        return numbers


class FileSource:
    """The files below a folder, at most `MOST_EACH` of a type so that none drowns the others.

    Raises:
        DataError: not a folder, or fewer than two files with a known extension.
    """

    def __init__(
        self, folder: Path, spec: InputSpec, label_of: Mapping[str, int], ends: Ends | None = None
    ) -> None:
        self._ends = ends or Ends()
        self._dtype = spec.dtype
        self._paths, labels = _labelled(folder, label_of)
        if len(self._paths) < 2:
            raise DataError(
                f"'{folder}' holds {len(self._paths)} files whose extension names a type; give a"
                " folder with files of several types"
            )
        self.labels = np.array(labels, np.int64)

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        try:
            numbers = [self._ends.read(self._paths[row]) for row in rows]
        except OSError as error:
            raise DataError(f"a file cannot be read ({error}); check the folder") from None
        return (torch.from_numpy(np.stack(numbers)).to(self._dtype),)


def _labelled(folder: Path, label_of: Mapping[str, int]) -> tuple[list[Path], list[int]]:
    paths: list[Path] = []
    labels: list[int] = []
    counts: dict[int, int] = {}
    for path in sorted(folder.rglob("*")):
        label = label_of.get(path.suffix.lower().removeprefix("."))
        usable = label is not None and path.is_file() and not path.is_symlink()
        if label is None or not usable or not path.stat().st_size:
            continue
        counts[label] = counts.get(label, 0) + 1
        if counts[label] <= MOST_EACH:
            paths.append(path)
            labels.append(label)
    return paths, labels


def unambiguous(extensions: Sequence[Sequence[str]]) -> dict[str, int]:
    """Extension to class, for a list of each class's extensions; those of several are left out."""
    found: dict[str, list[int]] = {}
    for label, names in enumerate(extensions):
        for name in names:
            found.setdefault(name, []).append(label)
    return {name: labels[0] for name, labels in found.items() if len(labels) == 1}
