"""Scales of one unit, searched in turn for the least weighted error of its outputs.

    argmin over Δ of  Σ F (O - Ô(Δ))²

O is the float output, Ô that with quantized weight and inputs, F the weight of each element. While
one scale is searched the others stay; the scales of a weight's channels are judged each by its own
outputs, so all of them are searched at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Layer, Site, layers
from workbench.maths.grid import affine_range
from workbench.maths.histogram import Histogram
from workbench.methods.walk import UnitStop
from workbench.quantizers.base import Quantizer
from workbench.quantizers.twin import Twin
from workbench.signals.fisher import importance

#: operator -> axis of the output with one index for each channel of the weight
_CHANNELS = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": -1}
MOST_SHIFT = 13  # Δ1 = Δ2 / 2^m behind a softmax, m up to this


@dataclass(frozen=True)
class Known:
    """Of one batch: what enters the unit, its float outputs, and their weights F."""

    inputs: dict[fx.Node, object]
    reference: tuple[Tensor, ...]
    weights: Sequence[Tensor]


class ScaleSearch:
    """The search over one unit.

    Args:
        model: its quantizers are calibrated; the best scales are left in them.
        stop: the unit, on a walk with float prefixes.
        seen: of the activation sites.
        ratios: candidates, as shares of the full range.
        chance: draws the labels of the Fisher information.
    """

    def __init__(
        self,
        model: QuantizedGraph,
        stop: UnitStop,
        seen: Mapping[str, Histogram],
        ratios: Sequence[float],
        chance: torch.Generator,
    ) -> None:
        self._model = model
        self._stop = stop
        self._seen = seen
        self._ratios = ratios
        self._program = stop.program()
        self._known = [self._gather(batch, chance) for batch in range(stop.count)]
        own = (layer for layer in layers(model.graph) if layer.name in stop.unit.layers)
        self._layers = {layer.name: layer for layer in own}
        self._places = {str(n.meta.get("onnx_node")): i for i, n in enumerate(stop.outputs)}

    @torch.no_grad()
    def run(self, rounds: int) -> tuple[float, float]:
        """Weights and inputs take turns; the relative error before and after."""
        size = sum(float((k.reference[i].square() * w).sum()) for k, i, w in self._parts())
        before = float(self.error())
        for _ in range(rounds if before else 0):
            for site in self.sites():
                quantizer = self._model.quantizer(site.name)
                if isinstance(quantizer, Twin):
                    self._search_twin(quantizer, self._seen[site.name])
                else:
                    self._search(site, quantizer)
        size = max(size, torch.finfo(torch.float32).tiny)
        return before / size, float(self.error()) / size

    def error(self, output: int | None = None, axis: int | None = None) -> Tensor:
        """Σ F (O - Ô)² over all outputs, or over one; for each index of `axis` where given."""
        total = torch.zeros(())
        for known in self._known:
            wanted = self._stop.outputs if output is None else self._stop.outputs[output:][:1]
            found = self._program.run(known.inputs, self._place, wanted)
            places = range(len(known.reference)) if output is None else [output]
            for index, value in zip(places, found, strict=True):
                gap = (known.reference[index] - value).square() * known.weights[index]
                total = total + (gap.sum() if axis is None else _summed(gap, axis))
        return total

    def _gather(self, batch: int, chance: torch.Generator) -> Known:
        reference = self._stop.reference(batch)
        with torch.enable_grad():
            leaves = [value.detach().requires_grad_() for value in reference]
            weights = importance(self._stop.predict(batch, leaves), leaves, chance)
        return Known(self._stop.inputs(batch)[0], reference, weights)

    def _parts(self) -> Iterator[tuple[Known, int, Tensor]]:
        for known in self._known:
            for index, weights in enumerate(known.weights):
                yield known, index, weights

    def sites(self) -> list[Site]:
        """Weights, then activations that have a range of their own."""
        weights = [s for s in self._model.of_kind("weight") if s.layer in self._layers]
        return weights + [s for s in self._stop.sites() if s.shares is None]

    def _place(self, node: fx.Node, x: Tensor) -> Tensor:
        return self._model.module.get_submodule(str(node.target))(x)

    def _search(self, site: Site, quantizer: Quantizer) -> None:
        """The best share of the full range, where one beats what is there."""
        output, axis = self._channels(site)
        scale, zero_point = (part.clone() for part in quantizer.affine())
        lowest = self.error(output, axis)
        low, high = self._range(site)
        for ratio in self._ratios:
            tried = affine_range(low * ratio, high * ratio, site.grid)
            quantizer.set_affine(*tried)
            error = self.error(output, axis)
            better = error < lowest
            lowest = torch.where(better, error, lowest)
            scale = torch.where(better, tried[0], scale)
            zero_point = torch.where(better, tried[1], zero_point)
        quantizer.set_affine(scale, zero_point)

    def _search_twin(self, quantizer: Twin, histogram: Histogram) -> None:
        """Δ1 behind a softmax in powers of two below Δ2; Δ1, then Δ2 behind a GELU."""
        low, high = now = float(quantizer.low_scale), float(quantizer.scale)
        if not quantizer.negative:
            self._best(quantizer, [now, *_shifted(quantizer, histogram.high)])
            return
        under = -histogram.low / quantizer.side
        full = histogram.high / max(1, quantizer.side - 1)
        low, high = self._best(quantizer, [now, *((under * r, high) for r in self._ratios)])
        self._best(quantizer, [(low, high), *((low, full * r) for r in self._ratios)])

    def _best(self, quantizer: Twin, steps: list[tuple[float, float]]) -> tuple[float, float]:
        """Set the best of these pairs of steps."""
        negative, errors = quantizer.negative, []
        for pair in steps:
            quantizer.set_steps(*pair, negative=negative)
            errors.append(float(self.error()))
        best = steps[errors.index(min(errors))]
        quantizer.set_steps(*best, negative=negative)
        return best

    def _range(self, site: Site) -> tuple[Tensor, Tensor]:
        """The full range of each scale."""
        if site.kind == "activation":
            histogram = self._seen[site.name]
            return torch.tensor(histogram.low), torch.tensor(histogram.high)
        weight = self._model.weight(site.name).detach()
        rows, unrows = site.grid.granularity.rows(weight), site.grid.granularity.unrows
        return unrows(rows.amin(1), weight.shape), unrows(rows.amax(1), weight.shape)

    def _channels(self, site: Site) -> tuple[int | None, int | None]:
        """(output, axis) that each scale is judged by; None where that is all of them."""
        layer: Layer | None = self._layers.get(str(site.layer)) if site.kind == "weight" else None
        if layer is None or len(site.edges) > 1 or layer.name not in self._places:
            return None, None
        output, weight = self._places[layer.name], layer.weights[0]
        axis = _CHANNELS.get(layer.op)
        if site.grid.granularity.kind != "channel" or axis is None:
            return output, None
        return output, -2 if layer.op == "MatMul" and weight.index == 0 else axis


def _shifted(quantizer: Twin, high: float) -> Iterator[tuple[float, float]]:
    """Δ1 and Δ2 for every m; the quantizer is left with the last."""
    for shift in range(MOST_SHIFT + 1):
        quantizer.set_shift(high, shift)
        yield float(quantizer.low_scale), float(quantizer.scale)


def _summed(gap: Tensor, axis: int) -> Tensor:
    """The sum for each index of an axis."""
    return gap.movedim(axis, 0).flatten(1).sum(dim=1)
