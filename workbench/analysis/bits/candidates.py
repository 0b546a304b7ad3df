"""Each site at each number of bits that it may get, and the network with a choice of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from workbench.analysis.bits.problem import Bits, Table
from workbench.graph.quantized import QuantizedGraph, uniform
from workbench.graph.sites import Site
from workbench.maths import metrics
from workbench.quantizers.base import Quantizer

#: rounds a weight on a site whose grid has the bits that are tried
Rounder = Callable[[Site, Tensor], Quantizer]
#: activation -> bits -> calibrated quantizer
Activations = Mapping[str, Mapping[int, Quantizer]]


def nearest(site: Site, weight: Tensor) -> Quantizer:
    """Nearest rounding on the range of least error."""
    found = uniform(site)
    found.fit(weight, "mse")
    return found


class Candidates:
    """The quantizers of open sites at each width; those of weights are made when asked for.

    Args:
        model: with the grids that were asked for; it is left alone.
        widths: the choices of each open weight.
        rounder: `nearest`, or another way of rounding.
        activations: calibrated quantizers of each open activation, by bits; of those that share a
            scale the one that leads.

    Attributes:
        widths: of all of them.
    """

    def __init__(
        self,
        model: QuantizedGraph,
        widths: Mapping[str, tuple[int, ...]],
        rounder: Rounder = nearest,
        activations: Activations | None = None,
    ) -> None:
        self.model = model
        given = activations or {}
        self.widths = {**widths, **{name: tuple(sorted(row)) for name, row in given.items()}}
        self._weights = tuple(widths)
        self._rounder = rounder
        self._made: dict[tuple[str, int], Quantizer] = {
            (name, bits): made for name, row in given.items() for bits, made in row.items()
        }

    def __len__(self) -> int:
        return sum(map(len, self.widths.values()))

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Each site with each of its widths, weights first, in the order of the graph."""
        return ((name, bits) for name, widths in self.widths.items() for bits in widths)

    def group(self, name: str) -> list[Site]:
        """A site with those that share its quantizer."""
        sites = self.model.sites.values()
        return [site for site in sites if name in (site.name, site.shares)]

    def weight(self, name: str) -> Tensor:
        """The float weight."""
        return self.model.weight(name).detach()

    @torch.no_grad()
    def quantizer(self, name: str, bits: int) -> Quantizer:
        """Of a site at a number of bits."""
        key = name, bits
        if key not in self._made:
            site = self.model.sites[name]
            grid = self.model.asked[name].with_bits(bits)
            self._made[key] = self._rounder(replace(site, grid=grid), self.weight(name))
        return self._made[key]

    @torch.no_grad()
    def rounded(self, name: str, bits: int) -> Tensor:
        """The weight as it would be."""
        return self.quantizer(name, bits).fake_quantize(self.weight(name))

    def perturbations(self) -> Table:
        """‖W - Q_b(W)‖² of each weight and width."""
        return {
            name: {
                bits: float((self.rounded(name, bits) - self.weight(name)).double().square().sum())
                for bits in self.widths[name]
            }
            for name in self._weights
        }


class MixedNetwork:
    """The quantized network with any choice of bits; what is not open stays as it was calibrated.

    Args:
        model: calibrated; its open weights are given other quantizers.
        candidates: for the open weights.
        batches: that judge; they are kept, with the float network's first output.
    """

    def __init__(
        self,
        model: QuantizedGraph,
        candidates: Candidates,
        batches: Iterator[tuple[tuple[Tensor, ...], Tensor | None]],
    ) -> None:
        self._model = model
        self._candidates = candidates
        self._batches = list(batches)
        with torch.no_grad():
            self._floats = [model.graph.module(*inputs)[0] for inputs, _ in self._batches]

    def kl(self, bits: Bits) -> float:
        """Mean KL divergence (nats) of the output from the float network's."""
        found = self._mean(bits, lambda wanted, got, _: metrics.kl_divergence(wanted, got))
        return math.inf if math.isnan(found) else found

    def percent(self, bits: Bits | None) -> float:
        """Top-1 where there are labels, else agreement with float; None is the float network."""

        def share(wanted: Tensor, got: Tensor, labels: Tensor | None) -> float:
            if labels is None:
                return metrics.agreement(wanted, got)
            return float((got.argmax(-1) == labels).double().mean())

        return 100 * self._mean(bits, share)

    @torch.no_grad()
    def _mean(
        self, bits: Bits | None, measure: Callable[[Tensor, Tensor, Tensor | None], float]
    ) -> float:
        for name, width in (bits or {}).items():
            self._model.set_quantizer(name, self._candidates.quantizer(name, width))
            self._model.quantizer(name).enabled = True
        total = count = 0.0
        for (inputs, labels), wanted in zip(self._batches, self._floats, strict=True):
            got = wanted if bits is None else self._model(*inputs)[0]
            total += measure(wanted, got, labels) * len(wanted)
            count += len(wanted)
        return total / max(1.0, count)
