"""Verify any quantized file against ONNX Runtime and against its float original."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from workbench.deploy.batches import checked
from workbench.deploy.cures import Pricing
from workbench.deploy.foreign import FileSimulation
from workbench.deploy.simulation import Batch
from workbench.deploy.verification import Verification
from workbench.deploy.verify import Limits, compare
from workbench.foundation.positive import positive
from workbench.graph.batching import count_examples, first_examples
from workbench.graph.build import TensorSpec

EXAMPLES = 64

STRANGE_DB = 3.0
STRANGER = (
    "the first output is hardly the float model's (SQNR below 3 dB); the float model is probably "
    "not this file's"
)


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
        ExportError: nothing to compare, batches that are not the model's, or the two files do not
            fit each other.
        RunError: examples or threads are below 1.
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
    specs = simulation.graph.inputs
    chosen = _first(checked(specs, batches), positive("examples", examples), specs)
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
    truth = None if labels is None else torch.as_tensor(labels)
    limits = limits or Limits()
    pricing = Pricing(float_path, quantized_path, batches, truth, threads, limits)
    price = pricing.as_it_is(len(found.suspects))
    return replace(
        found,
        notes=(*found.notes, STRANGER) if price.sqnr_db < STRANGE_DB else found.notes,
        price=price,
        cures=pricing.cures(found.causes, found.layers),
    )


def _first(batches: Sequence[Batch], examples: int, specs: Sequence[TensorSpec]) -> list[Batch]:
    """The first examples; whole batches where the model fixes their size."""
    chosen: list[Batch] = []
    for batch in batches:
        if examples <= 0:
            break
        chosen.append(first_examples(specs, batch, examples))
        examples -= count_examples(specs, batch)
    return chosen
