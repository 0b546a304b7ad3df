"""The version of this installation."""

from __future__ import annotations

from importlib import metadata

try:
    VERSION = metadata.version("quantization-workbench")
except metadata.PackageNotFoundError:  # a checkout that was never installed
    VERSION = "0+checkout"
