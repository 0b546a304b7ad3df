"""The rows that a convolution multiplies (im2col), at a lattice of output positions.

Output position p of tap t reads the input at p · stride + t · dilation - pad. Positions form a
lattice with a random offset, so that each tap is one strided slice of the input: nothing is padded,
and each value that is wanted is copied once. A few examples share an offset, by their place in the
stream, so that the rows are the same however the stream is cut into batches.

A transposed convolution is an ordinary one over its input with stride - 1 zeros put between
neighbours and the kernel read backwards, so there a tap's dilation is negative.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: output positions first + step · i for i < count
Lattice = tuple[int, int, int]
#: neighbours in the stream that share an offset
BLOCK = 4


@dataclass(frozen=True)
class Places:
    """Chooses where in each example of a stream rows are taken.

    Attributes:
        seed: other seeds, other places; first: index in the stream of the first example at hand.
    """

    seed: int = 0
    first: int = 0

    def after(self, count: int) -> Places:
        """For what follows so many examples."""
        return Places(self.seed, self.first + count)

    def blocks(self, count: int) -> Iterator[tuple[slice, torch.Generator]]:
        """Those of the next `count` examples that share their places, and what chooses them."""
        begin = 0
        while begin < count:
            block = (self.first + begin) // BLOCK
            end = min(count, (block + 1) * BLOCK - self.first)
            yield slice(begin, end), torch.Generator().manual_seed(self.seed * 1_000_003 + block)
            begin = end


@dataclass(frozen=True)
class Window:
    """How a kernel moves; one entry for each spatial axis.

    Attributes:
        kernel: taps; strides, dilations: of positions and of taps, the latter negative where the
            kernel is read backwards.
        begins, ends: padding; what tap 0 reads lies `begins` before the first input.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    def positions(self, axis: int, size: int) -> int:
        """Output positions along an axis of `size` inputs."""
        reach = abs(self.dilations[axis]) * (self.kernel[axis] - 1) + 1
        return (size + self.begins[axis] + self.ends[axis] - reach) // self.strides[axis] + 1


def patches(x: Tensor, window: Window, groups: int, positions: int, places: Places) -> Tensor:
    """(G, N, C / G · taps) rows of x (batch, C, *spatial), a view of (G, C / G · taps, N).

    Args:
        x: what the convolution reads.
        window: how its kernel moves.
        groups: G, of channels.
        positions: about how many to take of each example; all where there are no more.
        places: choose the lattices.
    """
    spatial = x.shape[2:]
    wanted = max(1, int(positions ** (1 / len(spatial))))
    sizes = [window.positions(axis, size) for axis, size in enumerate(spatial)]
    taken = _lattices(sizes, wanted, len(x), places)
    ends = [0, *itertools.accumulate(_rows(examples, lattices) for examples, lattices in taken)]
    source = x.unflatten(1, (groups, -1)).movedim(0, 2)  # (G, C / G, batch, *spatial)
    taps = math.prod(window.kernel)
    fresh = x.new_zeros if any(window.begins + window.ends) else x.new_empty
    columns = fresh(*source.shape[:2], taps, ends[-1])
    for (examples, lattices), (begin, end) in zip(taken, itertools.pairwise(ends), strict=True):
        counts = [count for _, _, count in lattices]
        own, read = columns[..., begin:end].unflatten(-1, (-1, *counts)), source[:, :, examples]
        _fill(own, read, window, lattices)
    return columns.reshape(groups, source.shape[1] * taps, -1).mT


def spread(x: Tensor, strides: Sequence[int]) -> Tensor:
    """x (batch, C, *spatial) with stride - 1 zeros between neighbours along each axis."""
    sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], strides, strict=True)]
    wide = x.new_zeros(*x.shape[:2], *sizes)
    wide[(..., *(slice(None, None, s) for s in strides))] = x
    return wide


def _lattices(
    sizes: Sequence[int], wanted: int, count: int, places: Places
) -> list[tuple[slice, list[Lattice]]]:
    """Which of `count` examples share which lattice; all of them where no position is left out."""
    if max(sizes) <= wanted:
        return [(slice(0, count), [(0, 1, size) for size in sizes])]
    return [
        (examples, [_lattice(size, wanted, generator) for size in sizes])
        for examples, generator in places.blocks(count)
    ]


def _rows(examples: slice, lattices: Sequence[Lattice]) -> int:
    return (examples.stop - examples.start) * math.prod(count for _, _, count in lattices)


def _fill(columns: Tensor, source: Tensor, window: Window, lattices: Sequence[Lattice]) -> None:
    """Copy what each tap reads of `source` (G, C / G, N, *spatial)."""
    for index, tap in enumerate(itertools.product(*(range(width) for width in window.kernel))):
        inside, read = _slices(window, lattices, source.shape[3:], tap)
        columns[(slice(None), slice(None), index, slice(None), *inside)] = source[(..., *read)]


def _lattice(count: int, wanted: int, generator: torch.Generator) -> Lattice:
    step = -(-count // wanted)
    first = int(torch.randint(min(step, count), (1,), generator=generator))
    return first, step, (count - 1 - first) // step + 1


def _slices(
    window: Window, lattices: Sequence[Lattice], spatial: Sequence[int], tap: Sequence[int]
) -> tuple[list[slice], list[slice]]:
    """Which lattice positions see the input through a tap, and what they read of it."""
    inside, read = [], []
    for axis, (first, step, count) in enumerate(lattices):
        stride = step * window.strides[axis]
        offset = tap[axis] * window.dilations[axis] - window.begins[axis]
        if window.dilations[axis] < 0:
            offset -= (window.kernel[axis] - 1) * window.dilations[axis]
        start = first * window.strides[axis] + offset
        low = min(count, max(0, -(start // stride)))
        high = max(low, min(count, (spatial[axis] - 1 - start) // stride + 1))
        inside.append(slice(low, high))
        begin = start + low * stride
        read.append(slice(begin, begin + max(0, (high - low - 1) * stride + 1), stride))
    return inside, read
