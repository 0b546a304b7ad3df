"""Resize, one axis at a time: each output position reads a few input positions with weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.graph.ops.common import along, floats, ints, resolved
from workbench.graph.ops.registry import op

_COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
)


class _Rule(NamedTuple):
    """How positions and weights are worked out, the same for all axes."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float
    antialias: bool
    exclude_outside: bool


def _refuse(attributes: Mapping[str, Any]) -> str | None:
    coordinates = attributes.get("coordinate_transformation_mode", "half_pixel")
    if coordinates not in _COORDINATES:
        return f"coordinate_transformation_mode '{coordinates}' is not known; use half_pixel"
    return None


@op("Resize", since=10, host=("scales",), refuse=_refuse)
def resize_v10(x: Tensor, scales: Tensor | Sequence[float], *, mode: str = "nearest") -> Tensor:
    """Resize-10: asymmetric coordinates, nearest rounds down."""
    rule = _Rule(mode, "asymmetric", "floor", -0.75, False, False)
    return _resize(x, list(range(x.ndim)), floats(scales), None, rule)


@op("Upsample", since=7, host=("scales",))
def upsample(x: Tensor, scales: Tensor | Sequence[float], *, mode: str = "nearest") -> Tensor:
    """Upsample-9: asymmetric coordinates, nearest rounds down."""
    rule = _Rule(mode, "asymmetric", "floor", -0.75, False, False)
    return _resize(x, list(range(x.ndim)), floats(scales), None, rule)


@op("Resize", since=11, host=("roi", "scales", "sizes"), refuse=_refuse)
def resize(
    x: Tensor,
    roi: Tensor | Sequence[float] | None = None,
    scales: Tensor | Sequence[float] | None = None,
    sizes: Tensor | Sequence[int] | None = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """Resize-19: nearest, linear or cubic, to `sizes` or by `scales`.

    `roi` (starts of all axes, then ends, as shares of the axis) is read by tf_crop_and_resize
    alone; what lies outside of the input becomes `extrapolation_value`.
    """
    dims = resolved(axes, x.ndim) if axes else list(range(x.ndim))
    rule = _Rule(
        mode,
        coordinate_transformation_mode,
        nearest_mode,
        cubic_coeff_a,
        bool(antialias),
        bool(exclude_outside),
    )
    wanted = None
    if sizes is not None and len(ints(sizes)):
        present = [x.shape[dim] for dim in dims]
        wanted, factors = _kept_ratio(present, ints(sizes), keep_aspect_ratio_policy)
    else:
        assert scales is not None
        factors = floats(scales)
    if coordinate_transformation_mode != "tf_crop_and_resize":
        return _resize(x, dims, factors, wanted, rule)
    assert roi is not None
    bounds = floats(roi)
    spans = list(zip(bounds[: len(dims)], bounds[len(dims) :], strict=True))
    return _cropped(x, dims, factors, wanted, rule, spans, extrapolation_value)


def _kept_ratio(
    sizes: Sequence[int], wanted: list[int], policy: str
) -> tuple[list[int], list[float]]:
    """The sizes to make and the factor of each, one for all unless the policy is to stretch."""
    factors = [w / n for w, n in zip(wanted, sizes, strict=True)]
    if policy == "stretch":
        return wanted, factors
    factor = min(factors) if policy == "not_larger" else max(factors)
    return [math.floor(factor * n + 0.5) for n in sizes], [factor] * len(sizes)


def _resize(
    x: Tensor, dims: Sequence[int], factors: Sequence[float], sizes: list[int] | None, rule: _Rule
) -> Tensor:
    for i, (dim, factor) in enumerate(zip(dims, factors, strict=True)):
        n = x.shape[dim]
        out = int(n * factor) if sizes is None else sizes[i]
        if factor == 1.0 and out == n:
            continue
        length = n * factor if sizes is None else float(out)
        where = _positions(out, n, length, factor, rule.coordinates).to(x.device)
        x = _along(x, dim, where, factor, rule)
    return x


def _cropped(
    x: Tensor,
    dims: Sequence[int],
    factors: Sequence[float],
    sizes: list[int] | None,
    rule: _Rule,
    spans: Sequence[Sequence[float]],
    outside: float,
) -> Tensor:
    """The part of each axis between `spans` over the whole output; `outside` beyond the input."""
    missing = torch.zeros((), dtype=torch.bool, device=x.device)
    for i, (dim, factor, (start, end)) in enumerate(zip(dims, factors, spans, strict=True)):
        n = x.shape[dim]
        out = int(n * factor) if sizes is None else sizes[i]
        if out == n and (start, end) == (0.0, 1.0):
            continue
        steps = torch.arange(out, dtype=torch.float32, device=x.device) / max(out - 1, 1)
        share = start + steps * (end - start) if out > 1 else (start + end) / 2 + steps
        where = share * (n - 1)
        x = _along(x, dim, where, factor, rule)
        missing = missing | along((where < 0) | (where > n - 1), dim, x.ndim)
    return x.masked_fill(missing, outside)


def _positions(out: int, n: int, length: float, scale: float, coordinates: str) -> Tensor:
    """Where each output position lies on the input axis, (out,).

    `length` is the output size before it was rounded down. Single precision, as in ONNX Runtime:
    where a position falls between two pixels, the last bit decides.
    """
    i = torch.arange(out, dtype=torch.float32)
    if coordinates == "asymmetric":
        return i / scale
    if coordinates == "align_corners":
        return i * (n - 1) / (length - 1) if length > 1 else torch.zeros_like(i)
    if coordinates == "pytorch_half_pixel" and out == 1:
        return torch.zeros_like(i)
    where = (i + 0.5) / scale - 0.5
    if coordinates == "half_pixel_symmetric":
        # The output size was rounded down; the grid is centred on the input again.
        where = where + n / 2 * (1 - out / (n * scale))
    return where


def _along(x: Tensor, dim: int, where: Tensor, scale: float, rule: _Rule) -> Tensor:
    if rule.mode == "nearest":
        return x.index_select(dim, _nearest(where, rule.nearest).clamp(0, x.shape[dim] - 1))
    matrix = _weights(where, x.shape[dim], scale, rule)
    dtype = x.dtype if x.is_floating_point() else torch.float32
    y = (x.to(dtype).movedim(dim, -1) @ matrix.to(dtype).T).movedim(-1, dim)
    return y if x.is_floating_point() else y.round().to(x.dtype)


def _nearest(where: Tensor, rounding: str) -> Tensor:
    if rounding == "floor":
        index = where.floor()
    elif rounding == "ceil":
        index = where.ceil()
    elif rounding == "round_prefer_ceil":
        index = (where + 0.5).floor()
    else:
        index = (where - 0.5).ceil()
    return index.to(torch.int64)


def _weights(where: Tensor, n: int, scale: float, rule: _Rule) -> Tensor:
    """Interpolation as a matrix (out, n): row o holds the weights of output o.

    Antialiasing stretches the kernel when the axis shrinks. Neighbours beyond the border are read
    at the border, or with `exclude_outside` left out.
    """
    stretch = min(scale, 1.0) if rule.antialias else 1.0
    reach = 1 if rule.mode == "linear" else 2
    radius = int(-(-reach // stretch))
    base = where.floor().to(torch.int64)
    taps = base[:, None] + torch.arange(-radius + 1, radius + 1, device=where.device)
    distance = (taps - where[:, None]) * stretch
    kernel = _triangle(distance) if rule.mode == "linear" else _cubic(distance, rule.cubic)
    if rule.exclude_outside:
        kernel = kernel.masked_fill((taps < 0) | (taps >= n), 0)
    kernel = kernel / kernel.sum(1, keepdim=True)
    matrix = torch.zeros(len(where), n, dtype=where.dtype, device=where.device)
    return matrix.scatter_add(1, taps.clamp(0, n - 1), kernel)


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)


def _cubic(distance: Tensor, a: float) -> Tensor:
    """Keys' cubic convolution kernel."""
    d = distance.abs()
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))
