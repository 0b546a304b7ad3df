"""Examples for calibration and for judging, never the same ones, streamed in batches.

A pool (an `.npz`, a folder, a zip, a text) is put in a fixed order first: within each class the
examples are shuffled by a seed, then the classes are dealt in turn, so that folders sorted by
class calibrate on all of them. The first `calibration_examples` of that order calibrate, the rest
judge; at most half of a pool calibrates. A network trains on the examples that calibrate, or, where
`training_examples` asks for more, on as many of the first; they never judge. Sample models bring
pools that never mix, one of them to train on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.foundation.errors import DataError
from workbench.session.archives import load_npz
from workbench.session.fingerprint import fingerprint
from workbench.session.images import ImageSource, Layout, Preprocess
from workbench.session.sources import (
    ArraySource,
    InputSpec,
    LazySource,
    Source,
    TextSource,
    check_labels,
    is_byte_model,
    sizes,
)

Split = Literal["calibration", "train", "test"]
Task = Literal["classify", "bytes", "tokens", "pairs", "none", "made"]
Batch = tuple[tuple[Tensor, ...], Tensor | None]
Rows = NDArray[np.int64]

DEFAULT_CALIBRATION = 512
BATCH_MOST = 64
IGNORED = -100  # the label of a place that has none
_ORDER_SEED = 7


@dataclass(frozen=True)
class Data:
    """Examples with their split.

    Attributes:
        name: for people: the file's or the sample's name.
        task: "classify" (labels are classes), "bytes" or "tokens" (the next one is the label),
            "pairs" (two sentences a row, labels are their similarity), "none", or "made" (from the
            model itself: nothing is known but what the float model says, and what it was made for).
        source: the rows.
        calibration, test: which rows belong to which split, in order.
        train: rows to train on; None where those that calibrate serve.
        pool: True where `calibrate_on` may move the border between the splits.
        record: how to open the same data again, as JSON values.
        fixed: examples in every batch, for a model whose batch axis is fixed; 0 otherwise.
    """

    name: str
    task: Task
    source: Source = field(repr=False)
    calibration: Rows = field(repr=False)
    test: Rows = field(repr=False)
    pool: bool = True
    train: Rows | None = field(default=None, repr=False)
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)
    fixed: int = 0

    def size(self, split: Split) -> int:
        """Number of examples in a split."""
        return len(self._rows(split))

    def split(self, split: Split, limit: int | None = None) -> tuple[Tensor, ...]:
        """The inputs of a split in one piece; give a `limit` where the data is large."""
        return self.source.read(self._rows(split)[:limit])

    def batches(self, split: Split, size: int = 64, limit: int | None = None) -> Iterator[Batch]:
        """Inputs and labels, `size` examples at a time; only one batch is in memory.

        A model with a fixed batch gets exactly that many; a last, smaller batch is left out.
        """
        for rows in self._chunks(split, size, limit):
            yield self.source.read(rows), self._targets(rows)

    def judged(self, split: Split, size: int = 64, limit: int | None = None) -> Iterator[Batch]:
        """The same with what is right at each position: of a text, the byte or token that follows.

        Labels that are no classes are left out.
        """
        for rows in self._chunks(split, size, limit):
            inputs = self.source.read(rows)
            yield inputs, self._taught(inputs, rows) if self.task != "made" else None

    def examples(self, split: Split, places: Sequence[int]) -> tuple[Tensor, ...]:
        """The inputs at some places of a split, in their order."""
        return self.source.read(self._rows(split)[list(places)])

    def calibrate_on(self, examples: int) -> Data:
        """The same data with (at most) that many examples in the calibration split."""
        if not self.pool:
            return replace(self, calibration=self.calibration[:examples])
        rows = self._pooled()
        examples = min(max(examples, self.fixed), len(rows) // 2)
        return replace(self, calibration=rows[:examples], test=rows[examples:], train=None)

    def train_on(self, examples: int) -> Data:
        """The same data with (at most) that many examples to train on; 0 takes all there are.

        Of a pool they are its first, so that those that calibrate are among them; the rest judge,
        half of the pool at least. Without a number a pool trains on those that calibrate.
        """
        if not self.pool:
            rows = self.calibration if self.train is None else self.train
            return replace(self, train=rows[: examples or None])
        if not examples:
            return self
        rows = self._pooled()
        examples = min(max(examples, self.fixed, len(self.calibration)), len(rows) // 2)
        return replace(self, train=rows[:examples], test=rows[examples:])

    def lessons(self, size: int = 64) -> Iterator[Batch]:
        """Inputs and labels to train on.

        Of a text, each next byte or token is the label; of made examples, the class that they were
        made for, which teaches but does not judge.
        """
        for rows in self._chunks("train", size):
            inputs = self.source.read(rows)
            yield inputs, self._taught(inputs, rows)

    def shuffled(self, split: Split, size: int, chance: torch.Generator) -> Iterator[Batch]:
        """The same of any split, in an order that `chance` decides."""
        rows = self._rows(split)[torch.randperm(self.size(split), generator=chance).numpy()]
        return replace(self, train=rows).lessons(size)

    def _taught(self, inputs: tuple[Tensor, ...], rows: Rows) -> Tensor | None:
        if self.task in ("bytes", "tokens"):
            following = torch.full_like(inputs[0], IGNORED, dtype=torch.int64)
            following[:, :-1] = inputs[0][:, 1:]
            return following
        labels = self.source.labels if self.task in ("classify", "made") else None
        return None if labels is None else torch.from_numpy(labels[rows])

    def _chunks(self, split: Split, size: int, limit: int | None = None) -> Iterator[Rows]:
        """The rows of each batch."""
        rows = self._rows(split)[:limit]
        size = self.fixed or size
        stop = len(rows) - len(rows) % self.fixed if self.fixed else len(rows)
        for start in range(0, stop, size):
            yield rows[start : start + size]

    def _pooled(self) -> Rows:
        """All rows of a pool, those that calibrate or train first."""
        return np.concatenate([self.calibration if self.train is None else self.train, self.test])

    def _rows(self, split: Split) -> Rows:
        found = {"calibration": self.calibration, "train": self.train, "test": self.test}
        if split not in found:
            raise DataError(f"no split '{split}'; choose 'calibration', 'train' or 'test'")
        rows = found[split]
        return self.calibration if rows is None else rows

    def _targets(self, rows: Rows) -> Tensor | None:
        if self.task not in ("classify", "pairs") or self.source.labels is None:
            return None
        return torch.from_numpy(self.source.labels[rows])


def open_data(
    given: object,
    inputs: Sequence[InputSpec],
    preprocess: Preprocess | None = None,
    classes: int | None = None,
) -> Data:
    """Data from what a person gave: a path, arrays, or `(inputs, labels)`.

    Args:
        given: what was given.
        inputs: of the model.
        preprocess: for pictures.
        classes: that the model tells apart, where it is known; labels must be among them.

    Raises:
        DataError: what was given cannot be read, or does not fit the model's inputs.
    """
    if isinstance(given, Data):
        return given
    preprocess = preprocess or Preprocess()
    if isinstance(given, str | Path):
        return _from_path(Path(given).expanduser(), inputs, preprocess, classes)
    arrays = _named(given, inputs)
    source = ArraySource(arrays, inputs, preprocess)
    record = {"kind": "arrays", "preprocess": preprocess.record()}
    return pool("arrays", source, inputs, record, classes)


def pool(
    name: str,
    source: Source,
    inputs: Sequence[InputSpec],
    record: Mapping[str, Any],
    classes: int | None = None,
) -> Data:
    """One pool of rows, ordered and divided in halves until `calibrate_on` says otherwise."""
    if len(source) < 2:
        raise DataError(f"'{name}' holds one example; give two or more: one calibrates, one judges")
    labels = source.labels
    if labels is not None:
        check_labels(labels, classes)
    task: Task = (
        "bytes"
        if isinstance(source, TextSource) or (labels is None and is_byte_model(inputs))
        else "none"
        if labels is None
        else "classify"
    )
    rows = order(len(source), labels)
    fixed = sizes(inputs[0])[0] if sizes(inputs[0]) else 0
    if len(source) < 2 * fixed:
        raise DataError(
            f"'{name}' holds {len(source)} examples, and the model takes {fixed} at once; give"
            f" {2 * fixed} or more, or export the model with a free batch axis"
        )
    data = Data(name, task, source, rows[:0], rows, record=record, fixed=fixed)
    return data.calibrate_on(DEFAULT_CALIBRATION)


def own(name: str, task: Task, counts: tuple[int, int, int], source: Source) -> Data:
    """A sample's own data: rows of three pools, (calibration, test, train) in this order."""
    first, rest, train = np.split(np.arange(sum(counts)), np.cumsum(counts)[:2])
    record = {"kind": "own", "name": name}
    return Data(name, task, source, first, rest, False, train if len(train) else None, record)


def order(count: int, labels: NDArray[np.int64] | None, seed: int = _ORDER_SEED) -> Rows:
    """Rows shuffled by the seed; with labels, the classes in turn.

    Example:
        >>> labels = np.array([0, 0, 0, 1, 1, 1])
        >>> labels[order(6, labels)].tolist()
        [0, 1, 0, 1, 0, 1]
    """
    rows = np.random.default_rng(seed).permutation(count)
    if labels is None:
        return rows
    shuffled = labels[rows]
    turn = np.empty(count, np.int64)  # how many of the same class came before
    by_class = np.argsort(shuffled, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(shuffled[by_class]) != 0])
    lengths = np.diff(np.r_[starts, count])
    turn[by_class] = np.arange(count) - np.repeat(starts, lengths)
    return rows[np.lexsort((shuffled, turn))]


def _from_path(
    path: Path, inputs: Sequence[InputSpec], preprocess: Preprocess, classes: int | None
) -> Data:
    if not _exists(path):
        raise DataError(f"there is no data at '{path}'; check the path")
    source = _source(path, inputs, preprocess)
    record = {
        "kind": "path",
        "path": str(path.resolve()),
        "fingerprint": fingerprint(path),
        "preprocess": preprocess.record(),
    }
    return pool(path.name, source, inputs, record, classes)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _source(path: Path, inputs: Sequence[InputSpec], preprocess: Preprocess) -> Source:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return ArraySource(load_npz(path), inputs, preprocess)
    if is_byte_model(inputs) and path.is_file():
        return TextSource(path, inputs[0])
    if path.is_dir() or suffix == ".zip":
        if len(inputs) != 1:
            names = ", ".join(f"'{spec.name}'" for spec in inputs)
            raise DataError(f"the model has inputs {names}; give an .npz with an array for each")
        layout = Layout.of(inputs[0].name, sizes(inputs[0]), preprocess)
        return ImageSource(path, preprocess, layout)
    raise DataError(
        f"'{path.name}' is not data for this model; give an .npz, a folder or zip of pictures, or"
        " (for byte models) a text file"
    )


def _named(given: object, inputs: Sequence[InputSpec]) -> dict[str, NDArray[np.generic]]:
    """Arrays by name from a mapping, one array, or `(inputs, labels)`."""
    if isinstance(given, Mapping):
        return {str(name): np.asarray(value) for name, value in given.items()}
    if isinstance(given, tuple) and len(given) == 2 and len(inputs) == 1:
        return {inputs[0].name: np.asarray(given[0]), "labels": np.asarray(given[1])}
    if isinstance(given, np.ndarray | Tensor) and len(inputs) == 1:
        return {inputs[0].name: np.asarray(given)}
    raise DataError(
        f"data of type '{type(given).__name__}' is not understood; give a path, an array,"
        " (inputs, labels), or a dict of arrays by input name"
    )


__all__ = [
    "Batch",
    "Data",
    "LazySource",
    "Preprocess",
    "Split",
    "open_data",
    "order",
    "own",
    "pool",
]
