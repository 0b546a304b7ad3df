"""PD-Quant's distribution correction (Liu et al. 2023, arXiv:2212.07048, section 3.3).

    min_x Σ_l ( ‖μ_l(x) - mean_l‖² + ‖σ_l(x) - deviation_l‖² ) / channels_l + ‖x - x_0‖² / λ_c

Few calibration examples are not what the network was trained on. A block's float inputs x_0 are
moved a little, so that its inner values have the mean and deviation that their batch norms
remember, and the block then learns to give what float gives for x. Adam at 1e-3, λ_c = 0.02, 500
steps, as in the released code; there the norm is summed over channels, averaged over the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx

from workbench.graph.norms import Norm, norms
from workbench.graph.quantized import QuantizedGraph
from workbench.methods.shelf import Shelf
from workbench.methods.walk import UnitStop
from workbench.signals.batch_norm import mismatch

STEPS, RATE, LEAST_RATE, PATIENCE = 500, 1e-3, 1e-5, 100
NEARNESS = 0.02  # λ_c

Inputs = Mapping[fx.Node, Any]


@contextmanager
def corrected(model: QuantizedGraph, stop: UnitStop, steps: int) -> Iterator[bool]:
    """While it lasts, the unit's float inputs are corrected ones.

    Args:
        model: whose graph holds the statistics.
        stop: the unit.
        steps: of descent for each batch; 0 corrects nothing.

    Yields:
        whether anything was corrected: a unit without batch norms is left as it is.
    """
    found = norms(model.graph.model, stop.unit.nodes) if steps else []
    if not found:
        yield False
        return
    shelf = Shelf()
    try:
        kept = [_put(shelf, corrected_inputs(stop, n, found, steps)) for n in range(stop.count)]
        stop.moved = lambda batch: {node: shelf.get(held) for node, held in kept[batch].items()}
        yield True
    finally:
        stop.moved = None
        shelf.close()


def corrected_inputs(
    stop: UnitStop, batch: int, found: list[Norm], steps: int
) -> dict[fx.Node, Tensor]:
    """The moved float inputs of one batch, those that are real numbers."""
    given = stop.inputs(batch)[0]
    first = {n: x for n, x in given.items() if isinstance(x, Tensor) and x.is_floating_point()}
    moved = {node: x.detach().clone().requires_grad_() for node, x in first.items()}
    optimiser = torch.optim.Adam(list(moved.values()), lr=RATE)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, patience=PATIENCE, min_lr=LEAST_RATE
    )
    for _ in range(steps):
        with torch.enable_grad():
            loss = _mismatch(stop, {**given, **moved}, found)
            for node, x in moved.items():
                loss = loss + _distance(x, first[node]) / NEARNESS
            optimiser.zero_grad()
            loss.backward()
        optimiser.step()
        schedule.step(float(loss.detach()))
    return {node: x.detach() for node, x in moved.items()}


def _mismatch(stop: UnitStop, floats: Inputs, found: list[Norm]) -> Tensor:
    values = stop.inner(floats, [norm.value for norm in found])
    parts = [
        mismatch(value, norm.axis, (norm.mean, norm.deviation), each=True)
        for norm, value in zip(found, values, strict=True)
    ]
    return torch.stack(parts).sum()


def _distance(x: Tensor, first: Tensor) -> Tensor:
    """Squared, summed over channels, averaged over examples and positions."""
    return (x - first).square().sum(1).mean() if x.ndim > 1 else (x - first).square().mean()


def _put(shelf: Shelf, inputs: Mapping[fx.Node, Tensor]) -> dict[fx.Node, Any]:
    return {node: shelf.put(x) for node, x in inputs.items()}
