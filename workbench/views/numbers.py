"""Numbers made fit for JSON and for people."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

MINUS = "−"


def number(value: Any) -> float | None:
    """A finite float, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def rounded(values: Iterable[float], digits: int = 6) -> list[float]:
    """Floats with `digits` significant digits, to keep JSON short."""
    return [float(f"{value:.{digits}g}") for value in values]


def fixed(value: float | None, digits: int = 1) -> str:
    """`−3.2`; an en dash where there is no number."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def decimals(unit: str | None) -> int:
    """Digits behind the point of a score: percent have one."""
    return 1 if unit == "%" else 2


def signed(value: float, digits: int = 1) -> str:
    """`+1.2` or `−3.4`; `±0` for what rounds to nothing."""
    text = fixed(value, digits)
    if float(text.replace(MINUS, "-")) == 0:
        return "±0"
    return text if text.startswith(MINUS) else f"+{text}"
