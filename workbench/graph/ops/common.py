"""Small helpers shared by the operator families."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SMALL = 64
NARROW_SUPPORT = frozenset({torch.uint16, torch.uint32, torch.uint64})


def ints(values: Tensor | Sequence[int] | int | None) -> list[int]:
    """Plain integers from a tensor, a list, one number, or nothing."""
    if values is None:
        return []
    if isinstance(values, Tensor):
        return [int(v) for v in values.reshape(-1).tolist()]
    return [values] if isinstance(values, int) else list(values)


def floats(values: Tensor | Sequence[float]) -> list[float]:
    """Plain numbers from a tensor or a list."""
    plain = values.reshape(-1).tolist() if isinstance(values, Tensor) else values
    return [float(value) for value in plain]


def number(value: Tensor | Sequence[float] | float) -> float:
    """One plain number from a tensor or list of one element, or a number."""
    if isinstance(value, Tensor):
        return value.item()
    return value if isinstance(value, (int, float)) else value[0]


def aligned(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors on one device.

    Shape arithmetic lives on the CPU, since its results are needed there as Python integers;
    where it meets data of an accelerator, the small side moves.
    """
    devices = {tensor.device for tensor in tensors}
    if len(devices) == 1:
        return tensors
    if all(not t.is_floating_point() and t.numel() <= SMALL for t in tensors):
        return tuple(tensor.cpu() for tensor in tensors)
    device = next(device for device in devices if device.type != "cpu")
    return tuple(tensor.to(device) for tensor in tensors)


def widened(tensor: Tensor) -> Tensor:
    """Unsigned 16 to 64 bit integers as int64, where torch has arithmetic; others as they are."""
    return tensor.to(torch.int64) if tensor.dtype in NARROW_SUPPORT else tensor


def resolved(axes: Sequence[int], rank: int) -> list[int]:
    """Axes counted from the front."""
    return [axis + rank if axis < 0 else axis for axis in axes]


def along(values: Tensor, axis: int, rank: int) -> Tensor:
    """A 1-D tensor shaped to broadcast along `axis` of a tensor of `rank` dimensions."""
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)
