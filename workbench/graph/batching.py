"""Where the examples of a batch lie in each input of a model.

They lie along the first axis, or along the one that the model calls as the first axis of its first
input: a state `(2, batch, 128)` beside an input `(batch, length)`. A scalar input, such as a
sampling rate, belongs to all examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

Batch = tuple[Tensor, ...]


class Shaped(Protocol):
    """What a model says of an input; sizes that are not fixed are a name or None."""

    @property
    def shape(self) -> Sequence[int | str | None]: ...


def batch_axis(spec: Shaped, first: Shaped) -> int:
    """The axis along which examples lie, by what `first`, the first input, calls its own."""
    name = first.shape[0] if first.shape else None
    return list(spec.shape).index(name) if isinstance(name, str) and name in spec.shape else 0


def is_free(specs: Sequence[Shaped]) -> bool:
    """Whether a model takes any number of examples."""
    ranked = [spec for spec in specs if spec.shape]
    return bool(ranked) and all(
        not isinstance(spec.shape[batch_axis(spec, ranked[0])], int) for spec in ranked
    )


def count_examples(specs: Sequence[Shaped], batch: Sequence[Tensor]) -> int:
    """How many examples a batch holds; 1 where all inputs are scalars."""
    axes = _axes(specs, batch)
    found = (x.shape[axis] for x, axis in zip(batch, axes, strict=True) if axis is not None)
    return next(found, 1)


def first_examples(specs: Sequence[Shaped], batch: Sequence[Tensor], count: int) -> Batch:
    """The first `count` examples; the whole batch where the model fixes its size."""
    if not is_free(specs):
        return tuple(batch)
    axes = _axes(specs, batch)
    return tuple(
        x if axis is None else x.narrow(axis, 0, min(count, x.shape[axis]))
        for x, axis in zip(batch, axes, strict=True)
    )


def _axes(specs: Sequence[Shaped], batch: Sequence[Tensor]) -> list[int | None]:
    """The axis of each tensor; None for scalars."""
    first = next((spec for spec in specs if spec.shape), None)
    return [
        None if x.dim() == 0 or first is None else batch_axis(spec, first)
        for spec, x in zip(specs, batch, strict=True)
    ]
