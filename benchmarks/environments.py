"""Virtual environments of other tools, each beside this project's own."""

from __future__ import annotations

import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

TORCH = "torch==2.13.0"


def python(folder: Path) -> Path:
    """The interpreter of the environment in `folder`, whether or not it is there."""
    return folder / "bin" / "python"


def install(folder: Path, packages: Sequence[str]) -> None:
    """Put torch and `packages` into the environment, which is made if it is missing.

    Raises:
        subprocess.CalledProcessError: pip found no way to install them.
    """
    if not python(folder).exists():
        venv.create(folder, with_pip=True)
    command = [str(python(folder)), "-m", "pip", "install", "-q", TORCH, *packages]
    subprocess.run(command, check=True)
