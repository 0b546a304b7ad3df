"""Verify any quantized file against ONNX Runtime and against its float original."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from workbench.deploy.cures import Pricing
from workbench.deploy.foreign import FileSimulation
from workbench.deploy.simulation import Batch
from workbench.deploy.verification import Verification
from workbench.deploy.verify import Limits, compare
from workbench.foundation.errors import ExportError

EXAMPLES = 64


def verify_file(
    float_path: str | Path,
    quantized_path: str | Path,
    batches: Iterable[Batch],
    labels: Tensor | Sequence[int] | None = None,
    *,
    examples: int = EXAMPLES,
    threads: int = 1,
    limits: Limits | None = None,
) -> Verification:
    """Does a quantized file do in ONNX Runtime what its nodes say, and what does that do to it?

    Args:
        float_path: the model before it was quantized.
        quantized_path: with QuantizeLinear and DequantizeLinear pairs, from any tool.
        batches: inputs in the order of the graph. All are used for agreement, score and prices.
        labels: the class of each example, in the order of the batches.
        examples: the first so many are compared tensor by tensor.
        threads: of each session that is timed.
        limits: what counts as no difference.

    Raises:
        ModelError: a file that cannot be read.
        ExportError: nothing to compare, or the two files do not fit each other.
    """
    held = [tuple(batch) for batch in batches]
    found = compare_file(quantized_path, held, examples=examples, limits=limits)
    return priced(found, float_path, quantized_path, held, labels, threads=threads, limits=limits)


def compare_file(
    path: str | Path,
    batches: Iterable[Batch],
    *,
    examples: int = EXAMPLES,
    limits: Limits | None = None,
) -> Verification:
    """Does a quantized file do in ONNX Runtime what its nodes say? Without prices.

    Args and errors are those of `verify_file`.
    """
    simulation = FileSimulation(path)
    chosen = _first(batches, examples, simulation)
    return replace(compare(path, simulation, chosen, limits or Limits()), file=str(path))


def priced(
    found: Verification,
    float_path: str | Path,
    quantized_path: str | Path,
    batches: Sequence[Batch],
    labels: Tensor | Sequence[int] | None = None,
    *,
    threads: int = 1,
    limits: Limits | None = None,
) -> Verification:
    """A verification with what the file costs as it is, and with the cures of its cause.

    Args:
        found: of the file at `quantized_path`.
        float_path, quantized_path, batches, labels, threads, limits: as in `verify_file`.

    Raises:
        ExportError: the labels do not fit the examples.
    """
    total = sum(len(batch[0]) for batch in batches)
    truth = None if labels is None else torch.as_tensor(labels)
    if truth is not None and len(truth) != total:
        raise ExportError(f"there are {len(truth)} labels for {total} examples; give one for each")
    limits = limits or Limits()
    pricing = Pricing(float_path, quantized_path, batches, truth, threads, limits)
    return replace(
        found,
        price=pricing.as_it_is(len(found.suspects)),
        cures=pricing.cures(found.cause, found.layers),
    )


def _first(batches: Iterable[Batch], examples: int, simulation: FileSimulation) -> list[Batch]:
    """The first examples; whole batches where the model fixes their size."""
    chosen: list[Batch] = []
    left = max(1, examples)
    for batch in batches:
        if left <= 0:
            break
        chosen.append(tuple(t[:left] for t in batch) if simulation.free_batch else tuple(batch))
        left -= len(batch[0])
    return chosen
