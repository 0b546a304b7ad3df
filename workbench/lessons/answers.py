"""Reading answers that are more than a number or a word."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.lessons.base import as_number

NEAR = 0.01
MOST = 1000  # entries of a list that an exercise may ask for


def numbers(answer: object) -> list[float]:
    """Finite numbers of a list; empty where anything else is in it, or more than any answer has.

    Example:
        >>> numbers([2, "0,5"]), numbers("2"), numbers([1, None])
        ([2.0, 0.5], [], [])
    """
    if not isinstance(answer, Sequence) or isinstance(answer, str) or len(answer) > MOST:
        return []
    found = [as_number(value) for value in answer]
    return [] if None in found else [value for value in found if value is not None]


def close(found: float, right: float) -> bool:
    """Within one per cent."""
    return abs(found - right) <= NEAR * abs(right)


def words(answer: object) -> list[str]:
    """Words of a list, without the spaces around them; empty where anything else is in it."""
    if not isinstance(answer, Sequence) or isinstance(answer, str):
        return []
    return [w.strip() for w in answer] if all(isinstance(w, str) for w in answer) else []
