"""A byte-level corpus for the sample language model: this Python's own standard library.

Nothing is shipped and nothing is downloaded: the text is the `*.py` sources of the interpreter
that runs the workbench. Tests, installed packages and generated tables are left out, and line
ends are made the same, so that two machines with the same Python version see the same bytes.

Each module belongs to one split, chosen by a hash of its path below the library folder. A module
that the model learned from is therefore never one that it is judged on, whichever Python version
either was done with.

The score is *bits per byte*: the mean of `-log2 p(next byte)` over the `length - 1` predictions
of each window. See `bits_per_byte`.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "calibration", "test"]

VOCABULARY = 256
LENGTH = 128
SEED = 20

# Tests repeat themselves, other people's packages differ between machines, and the character
# tables and the help texts are generated files rather than programs.
_EXCLUDED = frozenset(
    {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
    | {"encodings", "pydoc_data", "lib-dynload"}
)
_EXCLUDED_PREFIXES = ("config-", "_sysconfigdata")


def library_dir() -> Path:
    """The folder that holds the standard library's sources."""
    return Path(sysconfig.get_path("stdlib"))


def split_of(module: str) -> Split:
    """The split of a module, from its path below the library folder (`"json/decoder.py"`)."""
    bucket = hashlib.sha256(module.encode()).digest()[0]
    if bucket < 26:
        return "test"
    return "calibration" if bucket < 39 else "train"


def modules(split: Split) -> list[str]:
    """The paths of a split's modules below the library folder, sorted, with forward slashes."""
    if split not in get_args(Split):
        raise ValueError(f"no split {split!r}: choose one of {', '.join(get_args(Split))}")
    root = library_dir()
    found = sorted(path.relative_to(root).as_posix() for path in _sources(root))
    if not found:
        raise FileNotFoundError(f"this Python has no standard library sources in {root}")
    return [module for module in found if split_of(module) == split]


def read(split: Split) -> bytes:
    """All text of a split: its modules one after the other, line ends normalised."""
    return b"".join(_text(module) for module in modules(split))


def load(
    split: Split, length: int = LENGTH, limit: int | None = 1024, seed: int = SEED
) -> NDArray[np.int64]:
    """Windows of a split: int64 `(N, length)`, values 0 to 255.

    Windows do not overlap and do not cross from one module into the next. `limit` keeps that
    many, drawn over the whole split by `seed`; `None` keeps all, in the order of the text.
    """
    if length < 2:
        raise ValueError("a window needs at least two bytes: one to read and one to predict")
    windows = np.concatenate([_windows(_text(module), length) for module in modules(split)])
    if limit is not None and limit < len(windows):
        chosen = np.random.default_rng(seed).permutation(len(windows))[:limit]
        windows = windows[chosen]
    return windows.astype(np.int64)


def bits_per_byte(logits: NDArray[np.float32], tokens: NDArray[np.int64]) -> float:
    """The score of `logits` (N, T, 256) for `tokens` (N, T): mean bits for each next byte.

    8 is what knowing nothing costs; lower is better. The last position predicts a byte outside
    the window and is not counted.
    """
    scores = logits[:, :-1].astype(np.float64)
    scores -= scores.max(axis=-1, keepdims=True)
    normaliser = np.log(np.exp(scores).sum(axis=-1))
    hit = np.take_along_axis(scores, tokens[:, 1:, None], axis=-1)[..., 0]
    return float((normaliser - hit).mean() / np.log(2.0))


def _sources(root: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if _wanted(name)]
        yield from (Path(folder, name) for name in files if name.endswith(".py") and _wanted(name))


def _wanted(name: str) -> bool:
    return name not in _EXCLUDED and not name.startswith(_EXCLUDED_PREFIXES)


def _text(module: str) -> bytes:
    return (library_dir() / module).read_bytes().replace(b"\r\n", b"\n")


def _windows(text: bytes, length: int) -> NDArray[np.uint8]:
    count = len(text) // length
    return np.frombuffer(text, np.uint8, count * length).reshape(count, length)
