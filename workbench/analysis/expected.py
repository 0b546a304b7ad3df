"""Each site's error at the tensor it quantizes, beside what theory expects of that grid there."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from workbench.graph.quantized import QuantizedGraph
from workbench.graph.taps import watch
from workbench.maths.expected import expected_noise
from workbench.maths.metrics import decibels
from workbench.quantizers.base import Quantizer


@torch.no_grad()
def expected_db(
    model: QuantizedGraph, batches: Iterable[tuple[Tensor, ...]]
) -> dict[str, tuple[float, float | None]]:
    """By site: SQNR as it is, and as theory has it (None for levels that are not a grid's).

    Args:
        model: quantized; a weight is compared with the one that it has in float.
        batches: inputs; activations are those of the float network.
    """
    found = {}
    for site in model.of_kind("weight"):
        quantizer, weight = model.quantizer(site.name), model.original(site.name).detach()
        rounded = quantizer.fake_quantize(model.weight(site.name).detach())
        found[site.name] = _sums(quantizer, weight, rounded)
    activations = model.of_kind("activation")
    sites: dict[str, list[str]] = {}
    for site in activations:
        sites.setdefault(site.tensor, []).append(site.name)
        found[site.name] = torch.zeros(3, dtype=torch.float64)

    def see(tensor: str, value: Tensor) -> None:
        for name in sites[tensor]:
            quantizer = model.quantizer(name)
            found[name] += _sums(quantizer, value, quantizer.fake_quantize(value))

    for batch in batches:
        watch(model.graph.module, batch, set(sites), see)
    return {
        name: (decibels(signal, noise), None if expected < 0 else decibels(signal, expected))
        for name, (signal, noise, expected) in ((n, sums.tolist()) for n, sums in found.items())
    }


def _sums(quantizer: Quantizer, value: Tensor, rounded: Tensor) -> Tensor:
    """Signal, noise, and expected noise (-1 where there is no theory), `(3,)`."""
    signal = float(value.double().square().sum())
    noise = float((value - rounded).double().square().sum())
    expected = -1.0
    if not quantizer.form:
        affine, table = quantizer.affine(), quantizer.table()
        expected = expected_noise(value, *affine, quantizer.grid, table)
    return torch.tensor([signal, noise, expected], dtype=torch.float64)
