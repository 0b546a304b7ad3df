"""Counts that must be 1 or more: examples, threads."""

from __future__ import annotations

from workbench.foundation.errors import RunError


def positive(name: str, value: int) -> int:
    """The value itself.

    Raises:
        RunError: it is below 1.
    """
    if value < 1:
        raise RunError(f"{name} was '{value}'; give 1 or more")
    return value
