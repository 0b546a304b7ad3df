"""Single weights of one output channel: value, code, and what the code stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from workbench.maths.grid import position, quantize
from workbench.quantizers.base import Frozen

PAGE = 2048


@dataclass(frozen=True)
class ChannelWeights:
    """Weights of one channel, flat, of one page.

    Attributes:
        shape: of the whole channel, without the channel's own axis.
        start: number of the first weight of the page; total: weights in the channel.
        values: before rounding; codes: as exported; nearest: the codes of the nearest levels.
        places: where the values lie on the axis of codes, before rounding (a value beyond the last
            code of a uniform grid is clipped).
        restored: what the codes stand for; steps: the size of one step at each.
    """

    shape: tuple[int, ...]
    start: int
    total: int
    values: Tensor
    codes: Tensor
    nearest: Tensor
    places: Tensor
    restored: Tensor
    steps: Tensor
    bounds: tuple[int, int]

    @property
    def errors(self) -> Tensor:
        """Of each weight, in steps."""
        return (self.restored - self.values) / self.steps

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "shape": list(self.shape),
            "start": self.start,
            "total": self.total,
            "bounds": list(self.bounds),
            "codes": self.codes.tolist(),
            "nearest": self.nearest.tolist(),
            **{
                name: [float(f"{value:.6g}") for value in getattr(self, name).tolist()]
                for name in ("values", "places", "restored", "steps", "errors")
            },
        }


def channel_axis(frozen: Frozen, axis: int = 0) -> int:
    """The axis that channels are counted along: the grid's own, else the layer's `axis`."""
    granularity = frozen.grid.granularity
    return granularity.axis if granularity.kind == "channel" else axis


@torch.no_grad()
def channel_weights(
    weight: Tensor, frozen: Frozen, channel: int, wanted: int = 0, axis: int = 0
) -> ChannelWeights:
    """The page of `PAGE` weights of a channel that holds weight number `wanted`.

    Args:
        weight: float values, before rounding; frozen: what is exported of them, with codes.
        channel: of the output; wanted: position in the channel, flat, row by row.
        axis: of the layer's output channels, where their scales are not their own.

    Raises:
        IndexError: there is no such channel or weight.
    """
    part, held = one_channel(weight, frozen, channel, axis)
    if not 0 <= wanted < part.numel():
        raise IndexError(f"channel {channel} has {part.numel()} weights, so none is {wanted}")
    start = wanted // PAGE * PAGE
    grid, zero = held.grid, held.zero_point.float()
    codes = quantize(part, held.scale, zero, grid, held.levels)
    places = position(part, held.scale, zero, grid, held.levels)
    steps = grid.granularity.expand(held.scale, part).expand_as(part)
    if held.codes is None:
        raise ValueError("these weights have no codes")

    def page(values: Tensor) -> Tensor:
        return values.flatten()[start : start + PAGE]

    axis = channel_axis(frozen, axis)
    shape = tuple(size for at, size in enumerate(weight.shape) if at != axis)
    return ChannelWeights(
        shape=shape,
        start=start,
        total=part.numel(),
        values=page(part),
        codes=page(held.codes),
        nearest=page(codes).int(),
        places=page(places),
        restored=page(held.values()),
        steps=page(steps),
        bounds=(grid.qmin, grid.qmax),
    )


def one_channel(
    weight: Tensor, frozen: Frozen, channel: int, axis: int = 0
) -> tuple[Tensor, Frozen]:
    """One channel of a weight and of what is frozen of it, with the axis kept.

    Args:
        weight, frozen, channel, axis: as for `channel_weights`.

    Raises:
        IndexError: there is no such channel.
    """
    axis, granularity = channel_axis(frozen, axis), frozen.grid.granularity
    if not 0 <= channel < weight.shape[axis]:
        raise IndexError(f"the weight has {weight.shape[axis]} channels, so none is {channel}")
    codes = None if frozen.codes is None else frozen.codes.narrow(axis, channel, 1)
    if granularity.kind == "tensor":
        return weight.narrow(axis, channel, 1), replace(frozen, codes=codes)
    shared = granularity.size if granularity.kind == "group" and granularity.axis == axis else 1
    along = 0 if granularity.kind == "channel" else axis
    scale, zero = (
        tensor.narrow(along, channel // shared, 1) for tensor in (frozen.scale, frozen.zero_point)
    )
    return weight.narrow(axis, channel, 1), replace(
        frozen, codes=codes, scale=scale, zero_point=zero
    )
