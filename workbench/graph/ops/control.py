"""Control flow: operators that hold subgraphs.

A subgraph arrives as a branch: a tuple of the nested module that it was built into and the values
it reads from the graphs around it. The module is called with its own inputs first, those values
after them, and gives a tuple. Conditions and counts are read on the host, so that each run takes
the path that its data asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.foundation.errors import OperatorError
from workbench.graph.ops.common import ints
from workbench.graph.ops.dtypes import torch_dtype
from workbench.graph.ops.registry import op, pick

MAX_ITERATIONS = 20_000  # a stranger's loop may have no end

Branch = tuple[Any, ...]
Empty = Sequence[Sequence[int]]


def _call(branch: Branch, *inputs: Any) -> tuple[Any, ...]:
    module, *captured = branch
    return module(*inputs, *captured)


@op("If")
def if_(condition: Tensor, *, then_branch: Branch, else_branch: Branch, n_outputs: int = 1) -> Any:
    """If-25: what the branch gives that the condition (one boolean) chooses."""
    return pick(_call(then_branch if bool(condition) else else_branch), n_outputs)


@op("Loop", host=("trip_count",))
def loop(
    trip_count: Tensor | Sequence[int] | int | None = None,
    condition: Tensor | None = None,
    *states: Any,
    body: Branch,
    empty: Empty = (),
    n_outputs: int = 1,
) -> Any:
    """Loop-25: `body(i, condition, *states)` until the count is reached or the condition fails.

    The body gives the next condition, the next states, and rows. Outputs: the last states, then the
    rows of each kind stacked on a new first axis.

    Args:
        trip_count: how often at most; None has no limit, a negative count is none at all.
        condition: whether to begin; None begins.
        states: tensors, or sequences as lists, carried from one iteration to the next.
        body: the branch.
        empty: (element type, *sizes) of each kind of row, for a loop that never runs.
        n_outputs: how many outputs are wanted.
    """
    going = torch.tensor(True) if condition is None else condition
    count = None if trip_count is None else ints(trip_count)[0]
    rows: list[list[Tensor]] = [[] for _ in empty]
    i = 0
    while bool(going) and (count is None or i < count):
        if i == MAX_ITERATIONS:
            raise OperatorError(
                f"a Loop goes on after '{i}' iterations; export the model with a shorter one"
            )
        going, *results = _call(body, torch.tensor(i), going, *states)
        states = tuple(results[: len(states)])
        _append(rows, results[len(states) :])
        i += 1
    stacked = [_stacked(kind, none, 0) for kind, none in zip(rows, empty, strict=True)]
    return pick((*states, *stacked), n_outputs)


def _append(rows: list[list[Tensor]], new: Sequence[Tensor]) -> None:
    for kind, row in zip(rows, new, strict=True):
        kind.append(row)


def _stacked(rows: list[Tensor], none: Sequence[int], axis: int) -> Tensor:
    if rows:
        return torch.stack(rows, axis + rows[0].ndim + 1 if axis < 0 else axis)
    code, *sizes = none
    return torch.zeros(sizes, dtype=torch_dtype(code)).unsqueeze(axis).narrow(axis, 0, 0)


@op("Scan", since=9)
def scan(
    *inputs: Tensor,
    body: Branch,
    num_scan_inputs: int,
    scan_input_axes: Sequence[int] = (),
    scan_input_directions: Sequence[int] = (),
    scan_output_axes: Sequence[int] = (),
    scan_output_directions: Sequence[int] = (),
    empty: Empty = (),
    n_outputs: int = 1,
) -> Any:
    """Scan-25: `body(*states, *slices)` for each slice of the last `num_scan_inputs` inputs.

    A slice is taken along the input's scan axis (0 by default), from its end where the direction is
    1. Outputs: the last states, then the rows of each kind stacked along its axis, the last one
    first where its direction is 1. `empty` is as in `loop`.
    """
    split = len(inputs) - num_scan_inputs
    states, scanned = inputs[:split], inputs[split:]
    slices = [
        _slices(x, axis, backwards)
        for x, axis, backwards in zip(
            scanned,
            scan_input_axes or [0] * len(scanned),
            scan_input_directions or [0] * len(scanned),
            strict=True,
        )
    ]
    rows: list[list[Tensor]] = [[] for _ in empty]
    for row in zip(*slices, strict=True):
        results = _call(body, *states, *row)
        states = results[:split]
        _append(rows, results[split:])
    stacked = [
        _stacked(kind[::-1] if backwards else kind, none, axis)
        for kind, none, axis, backwards in zip(
            rows,
            empty,
            scan_output_axes or [0] * len(rows),
            scan_output_directions or [0] * len(rows),
            strict=True,
        )
    ]
    return pick((*states, *stacked), n_outputs)


def _slices(x: Tensor, axis: int, backwards: int) -> Sequence[Tensor]:
    slices = x.unbind(axis)
    return slices[::-1] if backwards else slices


@op("Scan", since=8)
def scan_batched(
    sequence_lens: Tensor | None,
    *inputs: Tensor,
    body: Branch,
    num_scan_inputs: int,
    directions: Sequence[int] = (),
    empty: Empty = (),
    n_outputs: int = 1,
) -> Any:
    """Scan-8: as `scan`, for each sample of a batch (axis 0) along axis 1, up to its length.

    Rows beyond a sample's length are zero.
    """
    longest = inputs[-1].shape[1]
    count = inputs[0].shape[0]
    lens = [longest] * count if sequence_lens is None else ints(sequence_lens)
    split = len(inputs) - num_scan_inputs
    samples = []
    for i, length in enumerate(lens):
        cut = [x[i] if k < split else x[i, :length] for k, x in enumerate(inputs)]
        results = scan(
            *cut,
            body=body,
            num_scan_inputs=num_scan_inputs,
            scan_input_directions=directions,
            empty=empty,
            n_outputs=split + len(empty),
        )
        results = results if isinstance(results, tuple) else (results,)
        samples.append([*results[:split], *(_to_length(y, longest) for y in results[split:])])
    return pick(tuple(torch.stack(parts) for parts in zip(*samples, strict=True)), n_outputs)


def _to_length(rows: Tensor, length: int) -> Tensor:
    missing = rows.new_zeros(length - rows.shape[0], *rows.shape[1:])
    return torch.cat((rows, missing))


@op("SequenceMap", since=17)
def sequence_map(sequence: Sequence[Any], *others: Any, body: Branch, n_outputs: int = 1) -> Any:
    """SequenceMap-17: `body` of each element; other sequences advance with it, tensors stay."""
    results: list[tuple[Any, ...]] = []
    for i, element in enumerate(sequence):
        rest = [other if isinstance(other, Tensor) else other[i] for other in others]
        results.append(_call(body, element, *rest))
    return pick(tuple([row[k] for row in results] for k in range(n_outputs)), n_outputs)
