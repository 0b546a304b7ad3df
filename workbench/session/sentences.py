"""Text for models of tokens: pairs of sentences with a judged similarity, and running text.

Each line of a file of pairs (`.tsv`) has a score, a tab, a sentence, a tab, a sentence. The model
is a sentence encoder: its first output is one vector for each sentence.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.foundation.errors import DataError
from workbench.session.data import DEFAULT_CALIBRATION, Data, Task, order
from workbench.session.fingerprint import fingerprint
from workbench.session.sources import WINDOW, InputSpec, Source, sizes

LONGEST = 256
MAX_TEXT = 2**28
_SPLIT_EVERY = 2**16

Integers = NDArray[np.int64]


class Encoding(Protocol):
    """One text as tokens."""

    @property
    def ids(self) -> list[int]: ...
    @property
    def type_ids(self) -> list[int]: ...


class Tokenizer(Protocol):
    """What the package `tokenizers` calls a Tokenizer, without padding."""

    def encode_batch(self, input: list[str]) -> list[Encoding]: ...  # noqa: A002 - their name


class PairSource:
    """Pairs of sentences; a row is a pair, and its sentences lie one after the other in a batch.

    Every sentence is padded to the longest of the file, so that all batches have one length; at
    most `LONGEST` tokens are kept.
    """

    def __init__(self, path: Path, inputs: Sequence[InputSpec], tokenizer: Tokenizer) -> None:
        self.labels, sentences = _pairs(path)
        self._inputs = list(inputs)
        self._arrays = _padded(tokenizer.encode_batch(sentences))
        _require_known(self._inputs, self._arrays)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, rows: Integers) -> tuple[Tensor, ...]:
        both = np.stack([2 * rows, 2 * rows + 1], 1).reshape(-1)
        return _tensors(self._inputs, self._arrays, both)


class TokenSource:
    """Running text as windows of tokens that do not overlap."""

    labels = None

    def __init__(self, path: Path, inputs: Sequence[InputSpec], tokenizer: Tokenizer) -> None:
        self._inputs = list(inputs)
        length = sizes(inputs[0])[1] or WINDOW
        tokens = _tokens(_text(path), tokenizer)
        windows = tokens[: len(tokens) // length * length].reshape(-1, length)
        if len(windows) < 2:
            raise DataError(
                f"'{path}' has {len(tokens)} tokens, fewer than two windows of {length}; give a"
                " longer text"
            )
        places = np.broadcast_to(np.arange(length), windows.shape)
        ones, zeros = np.ones_like(windows), np.zeros_like(windows)
        self._arrays = _named(windows, ones, zeros) | {"position_ids": places}
        _require_known(self._inputs, self._arrays)

    def __len__(self) -> int:
        return len(self._arrays["input_ids"])

    def read(self, rows: Integers) -> tuple[Tensor, ...]:
        return _tensors(self._inputs, self._arrays, rows)


def read_text(
    path: Path, inputs: Sequence[InputSpec], tokenizer: Callable[[], Tokenizer]
) -> Data | None:
    """Data from a `.tsv` of pairs or from a text (`.txt`, `.txt.gz`, `.md`); None for other paths.

    Raises:
        DataError: the file cannot be read, or holds no text of that form.
    """
    source: Source
    task: Task
    if path.suffix == ".tsv":
        source, task = PairSource(path, inputs, tokenizer()), "pairs"
    elif path.suffix in (".txt", ".md", ".gz"):
        source, task = TokenSource(path, inputs, tokenizer()), "tokens"
    else:
        return None
    rows = order(len(source), None)
    record = {"kind": "path", "path": str(path.resolve()), "fingerprint": fingerprint(path)}
    data = Data(path.name, task, source, rows[:0], rows, record=record)
    return data.calibrate_on(DEFAULT_CALIBRATION)


def _pairs(path: Path) -> tuple[NDArray[np.float64], list[str]]:
    """Scores, and the sentences one after the other."""
    scores, sentences = [], []
    lines = csv.reader(_text(path).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    for number, line in enumerate(lines, 1):
        try:
            score, first, second = line
            scores.append(float(score))
        except ValueError:
            raise DataError(
                f"line {number} of '{path.name}' is not a score and two sentences between tabs;"
                " give a file of such lines"
            ) from None
        sentences += [first, second]
    if len(scores) < 2 or not np.isfinite(scores).all():
        raise DataError(
            f"'{path.name}' holds {len(scores)} pairs; give two or more, with scores that are"
            " finite numbers"
        )
    return np.array(scores), sentences


def _text(path: Path) -> str:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            data = stream.read(MAX_TEXT + 1)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"'{path}' cannot be read ({error}); check the path") from None
    if len(data) > MAX_TEXT:
        raise DataError(f"'{path}' holds more than {MAX_TEXT} bytes; give a shorter text")
    return data.decode("utf-8", errors="replace")


def _tokens(text: str, tokenizer: Tokenizer) -> Integers:
    """Tokens of a long text, which is cut at line ends so that tokenizing stays quick."""
    pieces, held, size = [], [], 0
    for line in text.splitlines(keepends=True):
        held.append(line)
        size += len(line)
        if size >= _SPLIT_EVERY:
            pieces.append("".join(held))
            held, size = [], 0
    pieces.append("".join(held))
    ids = [np.array(piece.ids, np.int64) for piece in tokenizer.encode_batch(pieces)]
    return np.concatenate(ids)


def _padded(encodings: Sequence[Encoding]) -> dict[str, Integers]:
    """Arrays `(sentences, longest)` by input name, padded with zeros."""
    longest = min(LONGEST, max(len(one.ids) for one in encodings))
    ids, mask, types = (np.zeros((len(encodings), longest), np.int64) for _ in range(3))
    for row, one in enumerate(encodings):
        count = min(longest, len(one.ids))
        ids[row, :count] = one.ids[:count]
        types[row, :count] = one.type_ids[:count]
        mask[row, :count] = 1
    return _named(ids, mask, types)


def _named(ids: Integers, mask: Integers, types: Integers) -> dict[str, Integers]:
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def _require_known(inputs: Sequence[InputSpec], arrays: Mapping[str, Integers]) -> None:
    for spec in inputs:
        if spec.name not in arrays:
            raise DataError(
                f"text does not say what input '{spec.name}' needs; give an .npz with an array for"
                " each input"
            )


def _tensors(
    inputs: Sequence[InputSpec], arrays: Mapping[str, Integers], rows: Integers
) -> tuple[Tensor, ...]:
    chosen = (torch.from_numpy(arrays[spec.name][rows]).to(spec.dtype) for spec in inputs)
    return tuple(chosen)
