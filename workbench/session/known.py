"""What a model with a name is: its file, its card, and how it reads data."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.session.data import Data
from workbench.session.images import Preprocess
from workbench.session.sources import InputSpec

MakeData = Callable[[Sequence[InputSpec]], Data]
ReadData = Callable[[Path, Sequence[InputSpec]], Data | None]


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
        read: opens data in a form that only this model understands, such as text that needs its
            tokenizer; None from it, or without it, leaves the path to the usual readers.
        packages: that have to be installed, by the names they are imported by.
    """

    name: str
    title: str
    path: Callable[[], Path]
    card: Mapping[str, Any] = field(default_factory=dict)
    data: MakeData | None = None
    preprocess: Preprocess | None = None
    read: ReadData | None = None
    packages: tuple[str, ...] = ()

    @property
    def absent(self) -> tuple[str, ...]:
        """Packages that it needs and that are not installed; none of them is imported to know."""
        return tuple(name for name in self.packages if importlib.util.find_spec(name) is None)


def cache_dir() -> Path:
    """Where files that were made once are kept."""
    given = os.environ.get("WORKBENCH_CACHE")
    folder = Path(given) if given else Path.home() / ".cache" / "quantization-workbench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
