"""Batch norms that live while most of a training course runs, and are then folded away.

    z_c = β_c + |γ_c| (y_c - μ_c) / sqrt(σ_c² + ε)

y is what a convolution with quantized weights gives. While training steps, μ and σ² are those of
the batch; whoever judges sees their running mean. γ and β begin as the deviation and the mean that
the channel has in the float network, so it makes no difference whether a network ever had norms, or
came with them folded. In the end, with f = |γ| / sqrt(σ² + ε),

    s_c ← f s_c     w_c ← f w_c     (the codes stay)     b_c ← β_c + f (b_c - μ_c)

Scales per channel take up any norm (Nagel et al. 2021, arXiv:2106.08295, sec. 5.2.1), so that it
costs nothing at inference. Without norms every change of a code moves the statistics that the
layers behind are tuned to. A bias is a whole multiple of the scales of data and weight, a coarse
step where both have 2 bits; so the rest of a course trains without norms, as the file computes.
Measured on a ResNet-20 (docs/benchmarks.md) they decide at 2 bits, change nothing at 3, and cost
half a point at 4: so there are none unless some convolution has 3 bits or fewer.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Layer, Site
from workbench.graph.taps import watch
from workbench.maths.normal import ChannelStatistics
from workbench.methods.base import Batch, Task
from workbench.methods.installing import served
from workbench.methods.network_plan import NetworkPlan
from workbench.methods.outputs import movable, node_of, offset, shift
from workbench.methods.together import Together, total
from workbench.quantizers.base import Quantizer
from workbench.quantizers.codes import Codes
from workbench.quantizers.registry import make

NORM = "live_norm_"  # begins the name of a norm in the network
MOST_BITS = 3  # of a convolution's weight: above, a network is better off without norms
MOMENTUM = 0.1
EPSILON = 1e-5  # of the mean variance of the layer's channels
AT_TIES = 0.01  # of the weights, at most, lie where rounding the last bit decides on the code
EXAMPLES = 256  # that the first statistics are taken of


class LiveNorm(nn.Module):
    """Normalises (batch, channels, ...) by the batch while `live`, else by running statistics.

    Args:
        mean, variance: of each channel in the float network, `(channels,)`.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.gain = nn.Parameter(variance.sqrt())
        self.middle = nn.Parameter(mean.clone())
        self.register_buffer("mean", mean.clone())
        self.register_buffer("variance", variance.clone())
        self.epsilon = EPSILON * max(float(variance.mean()), 1e-12)
        self.momentum = MOMENTUM
        self.live = False
        self.together = Together()
        self.counts = True

    def forward(self, y: Tensor) -> Tensor:
        """The normalised outputs, of the same shape; the batch is that of all processes."""
        if self.live and self.together.count > 1:
            return self._by_all(y)
        return functional.batch_norm(
            y,
            self.mean,
            self.variance,
            self.gain.abs(),
            self.middle,
            self.live and y.numel() > y.shape[1],
            self.momentum,
            self.epsilon,
        )

    def _by_all(self, y: Tensor) -> Tensor:
        """The same, where several processes hold a share of the batch each."""
        over, shape = [0, *range(2, y.ndim)], [-1, *[1] * (y.ndim - 2)]
        held, own = y.float(), float(self.counts)
        number = self.together.totals([own * (y.numel() // y.shape[1])])[0]
        mean = total(self.together, held.sum(over) * own) / number
        centred = held - mean.reshape(shape)
        variance = total(self.together, centred.square().sum(over) * own) / number
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance * number / max(1.0, number - 1), self.momentum)
        factor = self.gain.abs() * (variance + self.epsilon).rsqrt()
        return (centred * factor.reshape(shape) + self.middle.reshape(shape)).to(y.dtype)

    @torch.no_grad()
    def factors(self) -> Tensor:
        """f of each channel."""
        return self.gain.abs() / (self.variance + self.epsilon).sqrt()


class Norms:
    """The norms behind the convolutions of a network in training.

    Args:
        model: calibrated; norms are put into it.
        plan: of the training. There are norms where it asks for them, trains everything, some
            convolution has few bits, and codes stay when weight and scale grow together.
        task: whose examples the first statistics are of.
    """

    def __init__(self, model: QuantizedGraph, plan: NetworkPlan, task: Task) -> None:
        self._model = model
        self._layers = _normed(model, plan)
        self._held: dict[str, LiveNorm] = {}
        if self._layers:
            inputs = _first(task)
            self._insert(_statistics(model, self._layers, inputs))
            self._begin(inputs)

    def __len__(self) -> int:
        return len(self._layers)

    def hold(self) -> None:
        """Biases do not learn: what is added to a channel, its norm takes away."""
        for layer in self._layers:
            offset(self._model, layer).requires_grad_(False)

    @contextmanager
    def live(self, together: Together | None = None, *, counts: bool = True) -> Iterator[None]:
        """Until the loss is known, outputs are normalised by their batch.

        Args:
            together: the processes that hold a share of the batch each.
            counts: whether this one's share is part of it.
        """
        self._set(live=True, together=together or Together(), counts=counts)
        try:
            yield
        finally:
            self._set(live=False)

    @torch.no_grad()
    def fold(self) -> None:
        """Write the norms into scales, weights and biases, and take them out of the network."""
        graph = self._model.module.graph
        for layer in self._layers:
            norm = self._held[layer.name]
            self._write(layer, norm)
            call = node_of(self._model, layer.name)
            (after,) = call.users
            call.meta["onnx_value"] = after.meta.pop("onnx_value")
            after.replace_all_uses_with(call)
            graph.erase_node(after)
            self._model.module.delete_submodule(str(after.target))
        if self._layers:
            graph.lint()
            self._model.module.recompile()
        self._layers, self._held = [], {}

    def _insert(self, found: dict[str, tuple[Tensor, Tensor]]) -> None:
        graph = self._model.module.graph
        for index, layer in enumerate(self._layers):
            call = node_of(self._model, layer.name)
            norm = self._held[layer.name] = LiveNorm(*found[layer.output])
            self._model.module.add_submodule(f"{NORM}{index}", norm)
            with graph.inserting_after(call):
                after = graph.call_module(f"{NORM}{index}", (call,))
            call.replace_all_uses_with(
                after, delete_user_cb=lambda user, own=after: user is not own
            )
            after.meta["onnx_value"] = call.meta.pop("onnx_value")
        graph.lint()
        self._model.module.recompile()

    @torch.no_grad()
    def _begin(self, inputs: Batch) -> None:
        """Running statistics of the quantized network as it is now."""
        self._set(live=True, momentum=1.0)
        self._model(*inputs)
        self._set(live=False, momentum=MOMENTUM)

    def _set(self, **values: Any) -> None:
        for norm in self._held.values():
            for name, value in values.items():
                setattr(norm, name, value)

    def _write(self, layer: Layer, norm: LiveNorm) -> None:
        model, factors = self._model, norm.factors()
        site = model.sites[layer.weights[0].name]
        weight, quantizer = model.weight(site.name), model.quantizer(site.name)
        grown = _grown(quantizer, weight, factors)
        assert grown is not None  # or there would be no norm
        weight.copy_(grown[1])
        model.set_quantizer(site.name, grown[0])
        before = offset(model, layer).detach().flatten()
        shift(model, layer, norm.middle + factors * (before - norm.mean) - before)


def _normed(model: QuantizedGraph, plan: NetworkPlan) -> list[Layer]:
    """Convolutions that a norm can follow and be folded into."""
    if not plan.norms or plan.moves != "everything" or plan.search:
        return []
    outputs = {str(value.name) for value in model.graph.model.graph.outputs}
    layers = movable(model)
    weights = (model.asked[layer.weights[0].name].bits for layer in layers if layer.op == "Conv")
    if min(weights, default=MOST_BITS + 1) > MOST_BITS:
        return []
    offsets = Counter(layer.offset for layer in layers)
    return [
        layer
        for layer in layers
        if layer.op == "Conv"
        and layer.output not in outputs
        and offsets[layer.offset] == 1
        and _folds(model, plan, model.sites[layer.weights[0].name])
    ]


@torch.no_grad()
def _folds(model: QuantizedGraph, plan: NetworkPlan, site: Site) -> bool:
    """Whether the scales of the weight's channels can take up any factor."""
    granularity, grid = site.grid.granularity, model.asked[site.name]
    if granularity.kind != "channel" or granularity.axis != 0 or len(site.edges) != 1:
        return False
    quantizer = make(served(plan.weights, site, grid), grid, site.shape)
    weight = model.weight(site.name).detach()
    quantizer.fit(weight, "minmax")
    factors = torch.full((len(weight),), 1.5).to(weight)
    return _grown(quantizer, weight, factors) is not None


@torch.no_grad()
def _grown(
    quantizer: Quantizer, weight: Tensor, factors: Tensor
) -> tuple[Quantizer, Tensor] | None:
    """(quantizer, weight) with grown scales and the codes that there are.

    Where codes depend on weight / scale the weight grows too, and where on the weight alone it
    stays; elsewhere the codes themselves take the quantizer's place. None where there is one scale
    alone, a scale that is not free, or levels that codes alone do not know.
    """
    scale, zero_point = quantizer.affine()
    if scale.numel() != factors.numel():
        return None
    wanted = scale * factors.reshape(scale.shape).to(scale.dtype)
    grown = copy.deepcopy(quantizer)
    grown.set_affine(wanted, zero_point)
    if not torch.allclose(grown.affine()[0], wanted):
        return None
    codes, spread = quantizer.codes(weight), _along(factors, weight)
    larger = weight * spread
    for held in (larger, weight):
        moved = grown.codes(held) != codes
        if moved.float().mean() < AT_TIES:  # float rounding: to the middle of its code
            settled = torch.where(moved, quantizer(weight) * spread, held)
            if torch.equal(grown.codes(settled), codes):
                return grown, settled
    if quantizer.grid.label:
        return None
    fixed = Codes(quantizer.grid, quantizer.shape)
    fixed.take(grown)
    fixed.set_codes(codes)
    return fixed, larger


def _along(factors: Tensor, weight: Tensor) -> Tensor:
    return factors.reshape(-1, *[1] * (weight.ndim - 1)).to(weight.dtype)


def _first(task: Task) -> Batch:
    """Some examples at once."""
    found: list[Batch] = []
    for inputs in islice(task.batches(), EXAMPLES):
        found.append(inputs)
        if sum(len(batch[0]) for batch in found) >= EXAMPLES:
            break
    return tuple(torch.cat(parts)[:EXAMPLES] for parts in zip(*found, strict=True))


@torch.no_grad()
def _statistics(
    model: QuantizedGraph, layers: list[Layer], inputs: Batch
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of each channel in the float network, by output."""
    found = {layer.output: ChannelStatistics() for layer in layers}
    watch(model.graph.module, inputs, found, lambda name, value: found[name].add(value, 1))
    return {
        name: (seen.mean.float(), seen.deviation.square().float()) for name, seen in found.items()
    }
