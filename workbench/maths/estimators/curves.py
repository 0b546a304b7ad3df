"""Gradient estimators as curves: the staircase going forward, the surrogate slope going backward.

Both are measured on the quantizer's own formula, so that what is drawn is what training does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.maths.estimators.base import Estimator
from workbench.maths.estimators.registry import ESTIMATORS, make
from workbench.maths.grid import Grid, fake_quantize

BITS = 2
BEYOND = 0.75  # steps that are drawn on both sides of the range
PER_STEP = 100
#: first what all others are compared with
FIRST = ("ste", "clipped_ste")
#: options that are drawn where the defaults would look like another estimator
SHOWN: Mapping[str, Mapping[str, float]] = {"ewgs": {"delta": 2.0}}


def curves(
    names: Sequence[str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    bits: int = BITS,
) -> dict[str, Any]:
    """The curves of estimators on a scale of one, so that values are in steps.

    Args:
        names: of the estimators; None is all of them, the straight-through ones first.
        options: of some of them, by name; for others what `SHOWN` has, else their defaults.
        bits: of the unsigned grid, whose range is [0, 2^bits - 1].

    Returns:
        "x", "forward" (the same staircase for all), "low" and "high" of the range, and for each of
        "estimators" its name, title, citation, options and defaults, with
        "soft": the soft function whose derivative the slope is, or None;
        "slope": the surrogate dx̂/dx for a gradient of +1 arriving at x̂;
        "slope_negative": the same for -1, or None where it makes no difference.

    Example:
        >>> found = curves(["clipped_ste"], bits=1)
        >>> sorted(set(found["forward"])), sorted(set(found["estimators"][0]["slope"]))
        ([0.0, 1.0], [0.0, 1.0])
    """
    given = {**SHOWN, **(options or {})}
    grid = Grid(bits, signed=False, symmetric=False)
    x = places(grid)
    chosen = _ordered() if names is None else names
    return {
        "x": _numbers(x),
        "forward": _numbers(x.round().clamp(grid.qmin, grid.qmax)),
        "low": grid.qmin,
        "high": grid.qmax,
        "estimators": [_record(name, given.get(name), x, grid) for name in chosen],
    }


def _record(name: str, options: Mapping[str, Any] | None, x: Tensor, grid: Grid) -> dict[str, Any]:
    entry, estimator = ESTIMATORS[name], make(name, options)
    up, down = slope(estimator, x, grid, 1.0), slope(estimator, x, grid, -1.0)
    passed = torch.where(up == 0, x.clamp(grid.qmin, grid.qmax), x)  # clipped in the soft one too
    soft = estimator.soft(passed)
    return {
        "name": name,
        "title": entry.title,
        "citation": entry.citation,
        "options": ESTIMATORS.parsed(name, options).model_dump(),
        "defaults": ESTIMATORS.parsed(name).model_dump(),
        "soft": None if soft is None else _numbers(soft),
        "slope": _numbers(up),
        "slope_negative": None if torch.equal(up, down) else _numbers(down),
    }


def slope(estimator: Estimator, x: Tensor, grid: Grid, upstream: float) -> Tensor:
    """What reaches `x` of a gradient that arrives behind rounding, as a share of it.

    Args:
        x: values in steps, any shape.
        upstream: the gradient that arrives at each x̂; its sign matters to some.
    """
    with torch.enable_grad():
        at = x.clone().requires_grad_()
        snapped = fake_quantize(at, x.new_ones(()), x.new_zeros(()), grid, estimator=estimator)
        (found,) = torch.autograd.grad(snapped, at, torch.full_like(snapped, upstream))
    return found / upstream


def places(grid: Grid) -> Tensor:
    """Evenly spaced values, none of them on a level or where a code changes."""
    count = round((grid.qmax - grid.qmin + 2 * BEYOND) * PER_STEP)
    return grid.qmin - BEYOND + (torch.arange(count, dtype=torch.float64) + 0.5) / PER_STEP


def _ordered() -> list[str]:
    return [*FIRST, *(name for name in ESTIMATORS.names() if name not in FIRST)]


def _numbers(values: Tensor) -> list[float]:
    return [round(value, 6) + 0.0 for value in values.detach().tolist()]
