"""Operators that make tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.graph.ops.common import ints
from workbench.graph.ops.dtypes import torch_dtype
from workbench.graph.ops.registry import op


def constant(values: Sequence[int]) -> Tensor:
    """A small int64 tensor of shape arithmetic, made on the CPU where it will be read.

    Not an operator: `build` writes it for such initializers, so that moving the module to an
    accelerator leaves them behind on purpose.
    """
    return torch.tensor(values, dtype=torch.int64)


@op("ConstantOfShape", since=9, host=("shape",))
def constant_of_shape(shape: Tensor | Sequence[int], *, value: Tensor | None = None) -> Tensor:
    """ConstantOfShape-25: filled with `value` (one element), float32 zero by default."""
    sizes = ints(shape)
    return torch.zeros(sizes) if value is None else value.reshape(()).expand(sizes).clone()


@op("Range", since=11)
def range_(start: Tensor, limit: Tensor, delta: Tensor, *, stash_type: int = 1) -> Tensor:
    """Range-27: start, start + delta ... up to but without limit, in the type of start."""
    first, last, step = start.item(), limit.item(), delta.item()
    if start.dtype in (torch.float16, torch.bfloat16) and stash_type == 1:
        return range_(start.float(), limit.float(), delta.float()).to(start.dtype)
    if start.is_floating_point():
        count = max(0, int(torch.ceil((limit - start) / delta).item()))
        return start + torch.arange(count, dtype=start.dtype, device=start.device) * delta
    return torch.arange(first, last, step, dtype=start.dtype, device=start.device)


@op("EyeLike", since=9)
def eye_like(x: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    """EyeLike-22: ones on diagonal k, in the shape of `x` (2-D)."""
    rows, columns = x.shape
    kind = x.dtype if dtype is None else torch_dtype(dtype)
    diagonal = torch.arange(columns, device=x.device) - torch.arange(rows, device=x.device)[:, None]
    return (diagonal == k).to(kind)


@op("Dropout", since=1)
def dropout(
    x: Tensor,
    ratio: Tensor | float | None = None,
    training_mode: Tensor | None = None,
    *,
    seed: int | None = None,
    is_test: int = 1,
    n_outputs: int = 1,
) -> Tensor | tuple[Tensor, Tensor]:
    """Dropout-22 at inference: the input itself, and a mask of ones."""
    return x if n_outputs == 1 else (x, torch.ones_like(x, dtype=torch.bool))
