"""The version of this installation."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path

try:
    VERSION = metadata.version("quantization-workbench")
except metadata.PackageNotFoundError:  # a checkout that was never installed
    VERSION = "0+checkout"

_PACKAGE = Path(__file__).resolve().parents[1]
_DOORS = frozenset({"cli", "ui", "views"})  # they show results and do not change them


@cache
def code() -> str:
    """A digest of the engine's source: a changed checkout is another version."""
    found = hashlib.blake2b(digest_size=8)
    for path in sorted(_PACKAGE.rglob("*.py")):
        place = path.relative_to(_PACKAGE)
        if place.parts[0] not in _DOORS:
            found.update(place.as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
