"""Values of one node for every batch, in memory up to a budget and in files beyond it.

What is read thousands of times, as a unit's inputs are while it learns, is worth a share of the
memory that is free. What a walk reads once or twice is not: of a long calibration only as many
batches are held as a short one has, so that ten thousand examples take no more than a hundred.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from workbench.foundation.errors import DataError

#: share of the free memory that live tensors may take before they go to disk, and its limits
FREE_SHARE, LEAST_BYTES, MOST_BYTES = 0.25, 1 << 29, 4 << 30
#: held of any stream, whatever its batches; so much disk is left free
SMALL_BYTES, SPARE_BYTES = 1 << 24, 1 << 30


class Column:
    """The value of one node for every batch, as (float, quantized) pairs."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._items: list[tuple[Any, Any]] = []

    def append(self, floats: Any, quantized: Any) -> None:
        """Keep the values of the next batch."""
        batch = len(self._items)
        left = self._shelf.put(floats, batch)
        right = left if quantized is floats else self._shelf.put(quantized, batch)
        self._items.append((left, right))

    def get(self, batch: int) -> tuple[Any, Any]:
        """The values of one batch; one object where the streams are equal."""
        left, right = self._items[batch]
        floats = self._shelf.get(left)
        return floats, floats if right is left else self._shelf.get(right)

    def drop(self) -> None:
        """Forget all values."""
        for left, right in self._items:
            self._shelf.drop(left)
            if right is not left:
                self._shelf.drop(right)
        self._items = []

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return (self.get(batch) for batch in range(len(self)))


class Shelf:
    """Keeps values in memory up to a budget, the rest in files of a temporary directory.

    Args:
        budget_bytes: of memory; None takes a share of what is free.
        held_batches: of a stream that is read once or twice, how many batches may fill the budget;
            later ones go to disk where more than a little is held. None holds any.
    """

    def __init__(self, budget_bytes: int | None = None, held_batches: int | None = None) -> None:
        self.held_batches = held_batches
        self._budget = _budget() if budget_bytes is None else budget_bytes
        self._held = 0
        self._directory: Path | None = None
        self._count = 0

    def put(self, value: Any, batch: int = 0) -> Any:
        """A handle for `value`: itself while there is room, otherwise a path.

        Args:
            value: a tensor, or a tuple of them.
            batch: position in its stream.

        Raises:
            DataError: the disk is full.
        """
        size = _bytes(value)
        late = self.held_batches is not None and batch >= self.held_batches
        if self._held + size <= (min(self._budget, SMALL_BYTES) if late else self._budget):
            self._held += size
            return value
        return self._store(value, size)

    def _store(self, value: Any, size: int) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="workbench-"))
        free = shutil.disk_usage(self._directory).free
        if free < size + SPARE_BYTES:
            raise DataError(
                f"the folder '{self._directory.parent}' has '{free >> 20}' MiB left, too few for"
                " the tensors of all examples; calibrate on fewer examples, or set TMPDIR to a"
                " larger disk"
            )
        self._count += 1
        path = self._directory / f"{self._count}.pt"
        torch.save(_alone(value), path)
        return path

    def get(self, handle: Any) -> Any:
        """The value behind a handle."""
        return torch.load(handle, weights_only=True) if isinstance(handle, Path) else handle

    def drop(self, handle: Any) -> None:
        """Free what a handle holds."""
        if isinstance(handle, Path):
            handle.unlink(missing_ok=True)
        else:
            self._held -= _bytes(handle)

    def close(self) -> None:
        """Remove the files."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)


def _budget() -> int:
    share = int(psutil.virtual_memory().available * FREE_SHARE)
    return max(LEAST_BYTES, min(MOST_BYTES, share))


def _alone(value: Any) -> Any:
    """The value without the rest of a larger tensor that it may be a part of."""
    if isinstance(value, Tensor):
        return value.clone() if value.untyped_storage().nbytes() > _bytes(value) else value
    return type(value)(map(_alone, value)) if isinstance(value, (tuple, list)) else value


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(_bytes(v) for v in value) if isinstance(value, (tuple, list)) else 0
