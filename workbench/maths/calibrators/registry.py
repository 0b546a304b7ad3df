"""The calibrator registry: a file in this package with `@calibrator(...)` is all it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from workbench.foundation.options import OneOf
from workbench.foundation.registry import Registry
from workbench.maths.calibrators.base import Range, Samples
from workbench.maths.grid import Grid

Calibrator = Callable[[Samples, Grid], Range]
Served = Literal["weights", "activations"]

CALIBRATORS: Registry[Calibrator] = Registry("calibrator", "workbench.maths.calibrators")


def calibrator(
    name: str,
    *,
    title: str,
    citation: str,
    serves: tuple[Served, ...] = ("weights", "activations"),
    **facts: Any,
) -> Callable[[Calibrator], Calibrator]:
    """Register a function of (samples, grid) to the range of each row.

    Facts that doors show: `serves` (which tensors it can be asked for), `needs`
    ("classes" for whole rows), `data`, `cost`, `use` (when
    to take it), and `cells` and `strategy`, its place in the survey's frame (see
    `workbench.foundation.taxonomy`).
    """
    return CALIBRATORS.register(name, title=title, citation=citation, serves=serves, **facts)


def serving(kind: Served) -> list[str]:
    """Names of the calibrators for weights or for activations, sorted."""
    return [entry.name for entry in CALIBRATORS if kind in entry.facts["serves"]]


#: a calibrator's name, as an option: checked, and listed in forms
WeightCalibrator = Annotated[str, OneOf("calibrator of weights", lambda: serving("weights"))]
ActivationCalibrator = Annotated[
    str, OneOf("calibrator of activations", lambda: serving("activations"))
]
