"""Where examples come from: rows that are read on demand, with labels where there are any."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.foundation.errors import DataError
from workbench.graph.batching import batch_axis
from workbench.session.archives import shapes
from workbench.session.images import Layout, Preprocess, to_input

BYTE_VOCABULARY = 256
WINDOW = 128
MAX_TEXT = 2**28
INPUT_NAMES = ("images", "x", "inputs", "data", "input")
LABEL_NAMES = ("labels", "y", "label", "targets")


class InputSpec(Protocol):
    """What a model says about one of its inputs; the batch axis comes first."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> Sequence[int | str | None]: ...
    @property
    def dtype(self) -> torch.dtype: ...


class Source(Protocol):
    """Rows of examples."""

    @property
    def labels(self) -> NDArray[Any] | None:
        """One class, or one score, for each row, or None."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """One tensor for each model input, stacked along the first axis."""
        ...


def sizes(spec: InputSpec) -> tuple[int, ...]:
    """The input's shape with 0 for every length that is not fixed."""
    return tuple(dim if isinstance(dim, int) and dim > 0 else 0 for dim in spec.shape)


class ArraySource:
    """Arrays in memory, one for each input, checked against the model when built.

    Arrays are matched by the names of the inputs; a model with one input also takes `images`, `x`,
    `inputs` or `data`. Labels are `labels`, `y`, `label` or `targets`. Pictures may be uint8,
    `(N, H, W)` or `(N, H, W, C)`: they are preprocessed like picture files. Examples lie along the
    first axis, or along the one that the model calls as the first axis of its first input: a state
    `(2, batch, 128)` beside an input `(batch, length)`.

    Raises:
        DataError: a missing array, a wrong shape or type, or values that are not finite.
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[np.generic]],
        inputs: Sequence[InputSpec],
        preprocess: Preprocess | None = None,
    ) -> None:
        self._preprocess = preprocess or Preprocess()
        self._inputs = list(inputs)
        self._arrays = [_pick(arrays, spec, len(self._inputs) == 1) for spec in self._inputs]
        self._axes = [batch_axis(spec, self._inputs[0]) for spec in self._inputs]
        counts = set(map(_examples, self._arrays, self._axes))
        if len(counts) != 1 or 0 in counts:
            raise DataError(
                f"every input needs the same number of examples, at least one; found:"
                f" {shapes(arrays)}"
            )
        self.labels = _labels(arrays, counts.pop())
        for array, spec in zip(self._arrays, self._inputs, strict=True):
            _check_finite(array, spec)
        self.read(np.arange(1))

    def __len__(self) -> int:
        return _examples(self._arrays[0], self._axes[0])

    def read(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        triples = zip(self._arrays, self._axes, self._inputs, strict=True)
        return tuple(self._tensor(array.take(rows, axis), spec) for array, axis, spec in triples)

    def _tensor(self, array: NDArray[np.generic], spec: InputSpec) -> Tensor:
        if array.dtype == np.uint8 and spec.dtype.is_floating_point and len(sizes(spec)) == 4:
            array = _as_pictures(array, spec, self._preprocess)
        _check_shape(array, spec)
        return _typed(array, spec)


class TextSource:
    """Bytes of a text file in windows of the model's length; windows do not overlap.

    Raises:
        DataError: no such file, or one shorter than two windows.
    """

    labels = None

    def __init__(self, path: Path, spec: InputSpec) -> None:
        self._length = sizes(spec)[1] or WINDOW
        self._dtype = spec.dtype
        self._path = path
        self._unpacked = _unpacked(path)
        size = _size(path) if self._unpacked is None else len(self._unpacked)
        self._count = size // self._length
        if len(self) < 2:
            raise DataError(
                f"'{path}' has {size} bytes, fewer than two windows of"
                f" {self._length}; give a longer text"
            )

    def __len__(self) -> int:
        return self._count

    def read(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        data = np.frombuffer(self._windows(rows), np.uint8).reshape(len(rows), self._length)
        return (torch.from_numpy(data.astype(np.int64)).to(self._dtype),)

    def _windows(self, rows: NDArray[np.int64]) -> bytes:
        """The windows one after the other. A file is not mapped: one cut short would be a crash."""
        length = self._length
        places = [int(row) * length for row in rows]
        if self._unpacked is not None:
            return b"".join(self._unpacked[place : place + length] for place in places)
        with _opened(self._path) as stream:
            parts = [stream.read(length) for place in places if stream.seek(place) == place]
        if sum(map(len, parts)) < length * len(places):
            raise DataError(f"'{self._path}' has become shorter; give the text it was")
        return b"".join(parts)


class LazySource:
    """Rows in parts, each made when one of its rows is first asked for.

    Opening a sample model then costs nothing, and who calibrates does not wait for what trains.

    Args:
        parts: how many rows each has, in their order, and what makes it.
        labels: of all rows, made when they are first asked for; None where there are none.
    """

    def __init__(
        self,
        parts: Sequence[tuple[int, Callable[[], Source]]],
        labels: Callable[[], NDArray[np.int64]] | None = None,
    ) -> None:
        self._ends = np.cumsum([count for count, _ in parts])
        self._make = [cache(make) for _, make in parts]
        self._labels = None if labels is None else cache(labels)

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """One class for each row, or None."""
        return None if self._labels is None else self._labels()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """One tensor for each model input, stacked along the first axis."""
        part = np.searchsorted(self._ends, rows, side="right")
        at = np.argsort(part, kind="stable")
        starts = np.r_[0, self._ends[:-1]]
        pieces = [self._make[k]().read(rows[part == k] - starts[k]) for k in np.unique(part)]
        if len(pieces) == 1:
            return pieces[0]
        back = torch.from_numpy(np.argsort(at, kind="stable"))
        return tuple(torch.cat(columns)[back] for columns in zip(*pieces, strict=True))


def is_byte_model(inputs: Sequence[InputSpec]) -> bool:
    """True for a single integer input `(batch, length)`."""
    if len(inputs) != 1:
        return False
    spec = inputs[0]
    return len(sizes(spec)) == 2 and not spec.dtype.is_floating_point


def _pick(
    arrays: Mapping[str, NDArray[np.generic]], spec: InputSpec, alone: bool
) -> NDArray[np.generic]:
    names = (spec.name, *(INPUT_NAMES if alone else ()))
    for name in names:
        if name in arrays and arrays[name].ndim > 0:
            return arrays[name]
    raise DataError(
        f"no array for the model's input '{spec.name}'; found: {shapes(arrays) or 'nothing'};"
        f" name it '{spec.name}'"
    )


def _labels(arrays: Mapping[str, NDArray[np.generic]], count: int) -> NDArray[np.int64] | None:
    found = [arrays[name] for name in LABEL_NAMES if name in arrays]
    if not found:
        return None
    labels = found[0]
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"labels have shape {labels.shape} and type {labels.dtype}; they need to be {count}"
            " whole numbers, one for each example"
        )
    if labels.size and int(labels.max()) > np.iinfo(np.int64).max:
        raise DataError(f"labels reach '{labels.max()}'; number the classes from 0 on")
    return labels.astype(np.int64)


def check_labels(labels: NDArray[np.int64], classes: int | None) -> None:
    """Labels are classes of the model: 0 up to one less than their number, where it is known.

    Raises:
        DataError: the first label that is no class.
    """
    most = np.iinfo(np.int64).max if classes is None else classes
    wrong = labels[(labels < 0) | (labels >= most)]
    if wrong.size:
        known = "" if classes is None else f" of the model's {classes} classes, 0 to {classes - 1}"
        raise DataError(
            f"label '{wrong[0]}' is none{known}; number the classes as the model's outputs are"
        )


def _as_pictures(
    array: NDArray[np.generic], spec: InputSpec, preprocess: Preprocess
) -> NDArray[np.generic]:
    layout = Layout.of(spec.name, sizes(spec), preprocess)
    pictures = array[..., None] if array.ndim == 3 else array
    if pictures.ndim == 4 and pictures.shape[3] not in (1, 3) and pictures.shape[1] in (1, 3):
        pictures = pictures.transpose(0, 2, 3, 1)
    if pictures.ndim != 4 or pictures.shape[3] not in (1, 3):
        return array  # not pictures: the shape check tells what was wanted
    pixels = np.ascontiguousarray(pictures, dtype=np.uint8)
    return torch.stack([to_input(one, preprocess, layout) for one in pixels]).numpy()


def _examples(array: NDArray[np.generic], axis: int) -> int:
    return array.shape[axis] if axis < array.ndim else 0


def _check_shape(array: NDArray[np.generic], spec: InputSpec) -> None:
    wanted = sizes(spec)
    fits = array.ndim == len(wanted) and all(
        want in (0, have) for want, have in zip(wanted[1:], array.shape[1:], strict=True)
    )
    if not fits:
        want = ", ".join(["N", *(str(dim or "any") for dim in wanted[1:])])
        have = ", ".join(["N", *map(str, array.shape[1:])])
        raise DataError(
            f"data for input '{spec.name}' has shape ({have}), but the model takes ({want});"
            " reshape the array, or give data made for this model"
        )


def _check_finite(array: NDArray[np.generic], spec: InputSpec) -> None:
    if array.dtype.kind == "f" and not all(np.isfinite(row).all() for row in array):
        raise DataError(
            f"data for input '{spec.name}' holds values that are not finite; take them out"
        )


def _typed(array: NDArray[np.generic], spec: InputSpec) -> Tensor:
    if array.dtype.kind not in "fiub":
        raise DataError(f"data for input '{spec.name}' has type {array.dtype}; numbers are needed")
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if tensor.is_floating_point() and not spec.dtype.is_floating_point:
        raise DataError(
            f"data for input '{spec.name}' has type {array.dtype}, but the model takes whole"
            f" numbers ({spec.dtype}); save it as integers"
        )
    return tensor.to(spec.dtype)


def _unpacked(path: Path) -> bytes | None:
    """The text of a gzip file; None where the file is the text itself."""
    if path.suffix != ".gz":
        return None
    try:
        with gzip.open(path) as stream:
            data = stream.read(MAX_TEXT + 1)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"'{path}' cannot be read ({error}); check the path") from None
    if len(data) > MAX_TEXT:
        raise DataError(f"'{path}' unpacks to more than {MAX_TEXT} bytes; give a shorter text")
    return data


def _size(path: Path) -> int:
    with _opened(path) as stream:
        return stream.seek(0, os.SEEK_END)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"'{path}' cannot be read ({error.strerror}); check the path") from None
