"""What a case is, and what several of them need."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["open", "data", "text", "recipe", "run"]
Make = Callable[[Path], Path]

MARK = "touched"
CASES: dict[str, Case] = {}


@dataclass(frozen=True)
class Case:
    """One bad file.

    Attributes:
        make: writes it into an empty folder and gives its path.
        kind: what it is handed over as.
        words: a pattern in the refusal; None where it opens.
    """

    make: Make
    kind: Kind
    words: str | None


def case(kind: Kind, words: str | None, name: str = "") -> Callable[[Make], Make]:
    """File the function as a case under its name."""

    def register(make: Make) -> Make:
        key = f"{kind}-{name or make.__name__}".replace("_", "-")
        known = CASES.get(key)  # a collector of tests may import a module twice
        assert known is None or known.make.__qualname__ == make.__qualname__, key
        CASES[key] = Case(make, kind, words)
        return make

    return register


def zipped(path: Path, entries: dict[str, bytes], deflate: bool = False) -> Path:
    method = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


class Bomb:
    """What a pickle would run: it leaves a mark beside the file."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self._path, "w"))
