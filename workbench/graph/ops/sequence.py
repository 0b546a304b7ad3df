"""Sequences, held as Python lists of tensors, and optional values, absent ones held as None."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.graph.ops.common import ints
from workbench.graph.ops.registry import op

Ints = Tensor | Sequence[int] | int | None


@op("SequenceConstruct", since=11)
def sequence_construct(*tensors: Tensor) -> list[Tensor]:
    """SequenceConstruct-11."""
    return list(tensors)


@op("SequenceEmpty", since=11)
def sequence_empty(*, dtype: int = 1) -> list[Tensor]:
    """SequenceEmpty-11: no elements; what comes in later brings its own type."""
    return []


@op("SequenceAt", since=11, host=("position",))
def sequence_at(sequence: Sequence[Tensor], position: Ints) -> Tensor:
    """SequenceAt-11: one element; a negative position counts back."""
    return sequence[ints(position)[0]]


@op("SequenceInsert", since=11, host=("position",))
def sequence_insert(
    sequence: Sequence[Tensor], tensor: Tensor, position: Ints = None
) -> list[Tensor]:
    """SequenceInsert-11: a new sequence with `tensor` before `position`, or at the end."""
    elements = list(sequence)
    elements.insert(len(elements) if position is None else ints(position)[0], tensor)
    return elements


@op("SequenceErase", since=11, host=("position",))
def sequence_erase(sequence: Sequence[Tensor], position: Ints = None) -> list[Tensor]:
    """SequenceErase-11: a new sequence without the element at `position`, the last by default."""
    elements = list(sequence)
    del elements[-1 if position is None else ints(position)[0]]
    return elements


@op("SequenceLength", since=11)
def sequence_length(sequence: Sequence[Tensor]) -> Tensor:
    """SequenceLength-11: int64 on the CPU."""
    return torch.tensor(len(sequence), dtype=torch.int64)


@op("SplitToSequence", since=11, host=("split",))
def split_to_sequence(
    x: Tensor, split: Ints = None, *, axis: int = 0, keepdims: int = 1
) -> list[Tensor]:
    """SplitToSequence-24: chunks of one size (scalar `split`), of given sizes, or single slices.

    `keepdims` concerns single slices alone.
    """
    if split is None:
        pieces = x.split(1, axis)
        return list(pieces) if keepdims else [piece.squeeze(axis) for piece in pieces]
    scalar = isinstance(split, int) or (isinstance(split, Tensor) and not split.ndim)
    return list(x.split(ints(split)[0] if scalar else ints(split), axis))


@op("ConcatFromSequence", since=11)
def concat_from_sequence(sequence: Sequence[Tensor], *, axis: int, new_axis: int = 0) -> Tensor:
    """ConcatFromSequence-11: along `axis`, which is a new one with `new_axis`."""
    elements = list(sequence)
    return torch.stack(elements, axis) if new_axis else torch.cat(elements, axis)


@op("Optional", since=15)
def optional(x: Any = None, *, type: Any = None) -> Any:
    """Optional-28: the value itself, or None where there is none."""
    return x


@op("OptionalHasElement", since=15)
def optional_has_element(x: Any = None) -> Tensor:
    """OptionalHasElement-28: a boolean on the CPU."""
    return torch.tensor(x is not None)


@op("OptionalGetElement", since=15)
def optional_get_element(x: Any) -> Any:
    """OptionalGetElement-28."""
    return x
