"""Whether batches are what a model takes, said in one sentence before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from workbench.foundation.errors import ExportError
from workbench.graph.batching import Batch, count_examples
from workbench.graph.build import TensorSpec


def checked(specs: Sequence[TensorSpec], batches: Iterable[Sequence[Tensor]]) -> list[Batch]:
    """The batches, each with one tensor for each input of the model.

    Raises:
        ExportError: none, or one without examples; a tensor of another shape or type than its
            input; values that are not finite.
    """
    found = [tuple(batch) for batch in batches]
    for batch in found:
        if batch and len(batch) != len(specs):
            raise ExportError(
                f"a batch holds {len(batch)} tensors, but the model takes {len(specs)} inputs; "
                f"give {', '.join(repr(spec.name) for spec in specs)}"
            )
        for spec, tensor in zip(specs, batch, strict=False):
            _check(spec, tensor)
    if not found or not all(batch and count_examples(specs, batch) for batch in found):
        raise ExportError("there is nothing to compare; give at least one example")
    return found


def _check(spec: TensorSpec, tensor: Tensor) -> None:
    shape = tuple(tensor.shape)
    if spec.shape and not fits(spec.shape, shape):
        raise ExportError(
            f"data for input '{spec.name}' has shape {shape}, but the model takes "
            f"{written(spec.shape)}; give data made for this model"
        )
    if tensor.dtype != spec.dtype:
        raise ExportError(
            f"data for input '{spec.name}' has type '{tensor.dtype}', but the model takes "
            f"'{spec.dtype}'; convert it"
        )
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise ExportError(
            f"data for input '{spec.name}' holds NaN or infinity; take out those examples"
        )


def fits(wanted: Sequence[int | str | None], given: Sequence[int | str | None]) -> bool:
    """Whether two shapes may be of one tensor: as many axes, and no two unequal fixed sizes."""
    return len(wanted) == len(given) and all(
        want == have or not (isinstance(want, int) and isinstance(have, int))
        for want, have in zip(wanted, given, strict=True)
    )


def written(shape: Sequence[int | str | None]) -> str:
    """A shape for people, such as `(batch, 3, 9, 9)`."""
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"
