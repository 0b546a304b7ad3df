"""The registry of causes: a file in this package with `@cause(...)` is all it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from workbench.analysis.causes.case import Case
from workbench.analysis.causes.finding import Finding
from workbench.analysis.units import Unit
from workbench.foundation.registry import Registry

Served = Literal["weight", "activation"]
#: looks at one site of a case: what was measured, or None where the cause does not apply
Cause = Callable[[Case, Unit], Finding | None]

CAUSES: Registry[Cause] = Registry("cause", "workbench.analysis.causes")


def cause(
    name: str, *, title: str, order: int, serves: tuple[Served, ...], **facts: Any
) -> Callable[[Cause], Cause]:
    """Register a cause.

    Args:
        name, title: for files and for people.
        order: of causes that explain as much, the lowest is named first: the more special one.
        serves: kinds of sites at which it can occur.
        facts: shown by doors: `where` (at which places it occurs) and `changes` (what the
            counterfactual changes), `more_bits` where that is the number of bits.
    """
    return CAUSES.register(name, title=title, order=order, serves=serves, **facts)
