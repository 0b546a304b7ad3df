"""Models by name: the samples that come with the workbench, and real ones from optional packages.

A sample is an ONNX file with a card and data of its own; the others are in `pretrained`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.foundation.errors import DataError, ModelError
from workbench.session import digits, pretrained, stdlib_bytes
from workbench.session.data import Data, own
from workbench.session.digits import Split
from workbench.session.images import Preprocess
from workbench.session.known import Known, cache_dir
from workbench.session.paths import samples_dir
from workbench.session.sources import ArraySource, InputSpec, LazySource, Source

__all__ = ["Known", "cache_dir", "find", "known", "preprocess_of", "sample_data"]

#: examples that calibrate, judge and train
_SPLITS: tuple[Split, ...] = ("calibration", "test", "train")
_DIGITS = (1000, 3000, 6000)
_WINDOWS = (1024, 1024, 8192)


def known() -> dict[str, Known]:
    """All models with a name: the samples first."""
    return dict(_known(samples_dir()))


@cache
def _known(folder: Path) -> dict[str, Known]:
    entries = [*_samples(folder), *pretrained.entries()]
    return {entry.name: entry for entry in entries}


def find(name: str) -> Known:
    """The model called `name`.

    Raises:
        ModelError: unknown; the message has the nearest name.
    """
    models = known()
    plain = name.replace("_", "-")
    if plain in models:
        return models[plain]
    near = difflib.get_close_matches(plain, models, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise ModelError(
        f"'{name}' is neither an .onnx file nor a known model; {hint}known are: {', '.join(models)}"
    )


def preprocess_of(name: str) -> Preprocess:
    """What the pictures of a known model need; for other models nothing is assumed."""
    model = known().get(name.replace("_", "-"))
    return (model.preprocess if model else None) or Preprocess()


def sample_data(task: str, name: str, inputs: Sequence[InputSpec]) -> Data:
    """The data of a sample whose card says `task`."""
    if task == "bytes":
        return own(name, "bytes", _WINDOWS, LazySource(_parts(_WINDOWS, _byte_windows, inputs)))
    if task == "digits":
        source = LazySource(_parts(_DIGITS, _digits, inputs), _digit_labels)
        return own(name, "classify", _DIGITS, source)
    raise DataError(f"sample '{name}' has data of an unknown kind '{task}'; give data of your own")


def _samples(folder: Path) -> list[Known]:
    cards = sorted((folder / "cards").glob("*.json"))
    return [_sample(folder, json.loads(path.read_text(encoding="utf-8"))) for path in cards]


def _sample(folder: Path, card: dict[str, Any]) -> Known:
    name = str(card["name"]).replace("_", "-")
    file = folder / "onnx" / f"{card['name']}.onnx"
    file = file if file.exists() else folder / file.name
    make = partial(sample_data, str(card["task"]), name)
    digit = Preprocess(mean=(digits.MEAN,), std=(digits.STD,)) if card["task"] == "digits" else None
    return Known(name, str(card.get("title", name)), lambda: file, card, make, digit)


def _parts(
    counts: Sequence[int],
    make: Callable[[Split, int, Sequence[InputSpec]], Source],
    inputs: Sequence[InputSpec],
) -> list[tuple[int, Callable[[], Source]]]:
    """The pools of a sample's data, each with what makes it."""
    named = zip(counts, _SPLITS, strict=True)
    return [(count, partial(make, split, count, inputs)) for count, split in named]


def _digits(split: Split, count: int, inputs: Sequence[InputSpec]) -> Source:
    images, _ = digits.load(split)
    return ArraySource({inputs[0].name: images[:count]}, inputs)


def _digit_labels() -> NDArray[np.int64]:
    return np.concatenate([digits.labels(split) for split in _SPLITS])


def _byte_windows(split: Split, count: int, inputs: Sequence[InputSpec]) -> Source:
    return ArraySource({inputs[0].name: stdlib_bytes.load(split, limit=count)}, inputs)
