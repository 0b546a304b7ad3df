"""Proof that a pass left the function alone: both models run in ONNX Runtime, node by node.

Differences are relative to the largest output, `max |a - b| / max |a|`, the worst over all outputs.
Where all outputs are tiny (a detector's on noise), rounding alone is a large share of them: give
data on which the model has something to say.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.deploy.runtime import open_session, run
from workbench.foundation.errors import ExportError, ModelError
from workbench.graph.build import TensorSpec
from workbench.graph.fold import fold_steps, merged
from workbench.graph.passes.base import FoldRecord
from workbench.graph.passes.registry import Measured
from workbench.graph.transforms import transform_steps

Outputs = list[NDArray[np.generic]]

logger = logging.getLogger(__name__)

#: sizes to try for the axes that a model leaves open, but for the first, which is the batch
OPEN_SIZES = (64, 48, 8)
BATCH = 2


def prove(before: ir.Model, after: ir.Model, inputs: Sequence[Tensor]) -> float:
    """The largest relative difference between the outputs of two models.

    Args:
        before, after: models with the same inputs and outputs.
        inputs: in the order of the graph.

    Returns:
        0 where all outputs are equal; infinity where NaN or infinities lie in other places, or
        shapes differ.

    Raises:
        ExportError: ONNX Runtime does not run one of them.
    """
    return _difference(_outputs(before, inputs), _outputs(after, inputs))


def prove_passes(
    model: ir.Model,
    inputs: Sequence[Tensor],
    transforms: Sequence[str] = (),
    measured: Measured | None = None,
) -> list[FoldRecord]:
    """Fold and transform a copy of `model`, with the difference that each pass makes.

    Args:
        model: as it was given, not folded; it is left untouched.
        inputs: in the order of the graph.
        transforms: that follow the folding; measured: what they saw in the data.
    """
    folded = model.clone()
    proved = merged(_proved(folded, fold_steps(folded), inputs))
    return [*proved, *prove_transforms(folded, inputs, transforms, measured)]


def prove_transforms(
    folded: ir.Model,
    inputs: Sequence[Tensor],
    transforms: Sequence[str],
    measured: Measured | None = None,
) -> list[FoldRecord]:
    """Transform a copy of a folded model, with the difference that each transformation makes."""
    if not transforms:
        return []
    copy = folded.clone()
    return list(_proved(copy, transform_steps(copy, transforms, measured), inputs))


def fitting_inputs(model: ir.Model, specs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    """Random inputs of a size that `model` takes.

    Raises:
        ModelError: the model runs on none of the sizes that were tried.
    """
    for size in OPEN_SIZES:
        inputs = random_inputs(specs, size)
        try:
            _outputs(model, inputs)
        except ExportError as error:
            logger.info("inputs of size %d do not fit: %s", size, error)
        else:
            return inputs
    names = ", ".join(spec.name for spec in specs)
    raise ModelError(
        f"the model does not run on random numbers for its inputs '{names}'; give data to prove "
        "the passes on"
    )


def random_inputs(
    specs: Sequence[TensorSpec], open_size: int = OPEN_SIZES[-1], seed: int = 0
) -> tuple[Tensor, ...]:
    """Inputs for a model of which no data are at hand: normal numbers, zeros and ones.

    Args:
        specs: of the inputs, in order.
        open_size: of every axis that the model leaves open, but for the first.
        seed: of the numbers.

    Raises:
        ModelError: an input has a type for which there is no such value.
    """
    generator = torch.Generator().manual_seed(seed)
    return tuple(_random(spec, open_size, generator) for spec in specs)


def _random(spec: TensorSpec, open_size: int, generator: torch.Generator) -> Tensor:
    sizes = [
        size if isinstance(size, int) and size > 0 else BATCH if axis == 0 else open_size
        for axis, size in enumerate(spec.shape)
    ]
    if spec.dtype.is_floating_point:
        return torch.randn(sizes, generator=generator).to(spec.dtype)
    if spec.dtype.is_complex:
        raise ModelError(
            f"input '{spec.name}' is of type '{spec.dtype}'; give data to prove the passes on"
        )
    return torch.randint(0, 2, sizes, generator=generator).to(spec.dtype)


def _proved(
    model: ir.Model, steps: Iterator[FoldRecord], inputs: Sequence[Tensor]
) -> Iterator[FoldRecord]:
    """Each record with its difference; a pass that did nothing has none to measure."""
    before = _outputs(model, inputs)
    for record in steps:
        if not record.count:
            yield record
            continue
        after = _outputs(model, inputs)
        yield replace(record, max_difference=_difference(before, after))
        before = after


def _outputs(model: ir.Model, inputs: Sequence[Tensor]) -> Outputs:
    session = open_session(ir.to_proto(model).SerializeToString(), optimise=False)
    return list(run(session, inputs).values())


def _difference(before: Outputs, after: Outputs) -> float:
    return max((_relative(a, b) for a, b in zip(before, after, strict=True)), default=0.0)


def _relative(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if not np.issubdtype(a.dtype, np.number):
        return 0.0 if np.array_equal(a, b) else float("inf")
    wide, other = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(wide)
    if not np.array_equal(wide[~finite], other[~finite], equal_nan=True):
        return float("inf")
    if not np.isfinite(other[finite]).all():
        return float("inf")
    gap = np.abs(wide[finite] - other[finite]).max(initial=0.0)
    peak = np.abs(wide[finite]).max(initial=0.0)
    return float(gap / peak) if peak else float(gap)
