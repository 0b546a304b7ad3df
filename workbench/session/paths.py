"""Where the sample models and their data lie, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def samples_dir() -> Path:
    """The folder with the sample `.onnx` files, their cards and their data.

    A wheel carries it inside the package; a checkout has it beside the package.
    """
    candidates = (_PACKAGE / "sample_models", _PACKAGE.parent / "sample_models")
    for folder in candidates:
        if (folder / "data").is_dir():
            return folder
    looked = " or ".join(str(folder) for folder in candidates)
    raise FileNotFoundError(f"the sample models are missing: no data folder in {looked}")
