"""SpinQuant: the rotation of the residual stream is learned (Liu et al. 2024, arXiv:2405.16406).

Random rotations differ in what quantization costs afterwards, by points of accuracy. So Q is taken
as a parameter of the quantized network,

    min over Qᵀ Q = I of  KL( float logits ‖ logits with x Q in the stream, weights and activations
                              on their grids ),

by Cayley SGD on the Stiefel manifold, from a random Hadamard matrix on. Ranges follow the tensors
as they turn (minimum and maximum of each batch), rounding passes its gradient straight through.

Defaults as in the paper: 100 steps of at most 1.5, falling to zero as a cosine. The paper learns
the language model's loss; the float model's own prediction needs no labels. It also learns the
rotation of each head; here that stays the random one. What was learned is kept only where the loss
on the first few batches is lower than before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Annotated

import onnx_ir as ir
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from workbench.foundation.errors import DataError
from workbench.graph.build import Graph, build
from workbench.graph.passes.base import FoldRecord, average, wide
from workbench.graph.passes.linear import Linear
from workbench.graph.passes.registry import Batches, Measured, Transform, transformation
from workbench.graph.passes.residual import Stream, streams
from workbench.graph.passes.rotate import (
    RotateOptions,
    drawn,
    normalize,
    rotate,
    seeded,
    spread,
    turned_inputs,
    turned_outputs,
)
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.maths.grid import affine_range, fake_quantize
from workbench.maths.stiefel import cayley_step
from workbench.quantizers.base import Quantizer

#: batches on which the learned rotation has to be the better one
CHECKED = 4
#: how often that is checked on the way
CHECKS = 5
Inputs = tuple[Tensor, ...]
Values = dict[str, Tensor]


class SpinQuantOptions(RotateOptions):
    """Options of learned rotation."""

    bits: Annotated[
        int, Field(ge=1, le=16, description="of the weights; the recipe's if not given; 16: float")
    ] = 4
    group_size: Annotated[
        int, Field(ge=0, le=4096, description="weights in a group; 0: a scale for each channel")
    ] = 0
    activation_bits: Annotated[
        int, Field(ge=0, le=16, description="of the activations; the recipe's; 0: float")
    ] = 0
    steps: Annotated[int, Field(ge=1, le=10_000, description="of Cayley SGD")] = 100
    rate: Annotated[float, Field(gt=0, le=10, description="largest step at the beginning")] = 1.5
    examples: Annotated[int, Field(ge=1, le=100_000, description="calibration examples")] = 128
    batch: Annotated[int, Field(ge=1, le=1024, description="examples in a step")] = 8


@transformation(
    "spinquant",
    title="Learned rotation of the residual stream",
    citation="Liu et al. 2024, arXiv:2405.16406",
    order=51,
    exact=True,
    options=SpinQuantOptions,
    signal="difference to the float prediction",
    data="unlabelled, 128 examples",
    cost="minutes",
    cells=("transform/task_loss", "transform/prediction"),
    strategy="parameters",
    use="pre-norm transformers at 4 bits and below, where rotate helps and minutes are to spare",
)
class SpinQuant(Transform):
    """Turns the stream's basis until the quantized network predicts what the float one does."""

    options: SpinQuantOptions

    def measure(self, model: ir.Model, batches: Batches) -> dict[str, Tensor]:
        """Q of each stream, "0", "1" ...; the loss before and after as "loss"."""
        plain = model.clone()
        rotate(plain, RotateOptions(**{**_shared(self.options), "stream": False}))
        found = streams(plain.graph)[0] if self.options.stream else []
        if not found:
            return {}
        for stream in found:
            normalize(plain, stream)
        task = _Turning(build(plain), found, self.options)
        return task.learn(_examples(batches, self.options.examples))

    def apply(self, model: ir.Model, measured: Measured) -> FoldRecord:
        done = rotate(model, self.options, measured)
        if "loss" not in measured:
            return done
        before, after = measured["loss"].tolist()
        measures = {**done.measures, "KL to the float prediction, nats": (before, after)}
        return replace(done, measures=measures)


class Following(Quantizer):
    """Covers each tensor that it sees from its minimum to its maximum."""

    def set_affine(self, scale: Tensor, zero_point: Tensor) -> None:
        """Nothing is kept."""

    def fake_quantize(self, x: Tensor) -> Tensor:
        rows = self.grid.granularity.rows(x)
        low, high = (self.grid.granularity.unrows(v, x.shape) for v in (rows.amin(1), rows.amax(1)))
        return fake_quantize(x, *affine_range(low, high, self.grid), self.grid)


@dataclass(frozen=True)
class _Part:
    """One initializer as a function of Q."""

    name: str
    turned: Callable[[Tensor], Tensor]


class _Turning:
    """A network whose weights are functions of the rotations of its streams."""

    def __init__(self, graph: Graph, found: Sequence[Stream], options: SpinQuantOptions) -> None:
        self._graph = graph
        self._options = options
        self._parts = [list(_parts(stream)) for stream in found]
        generator = seeded(options.seed)
        self._start = [drawn(stream.width, options.basis, generator) for stream in found]
        self._model = _simulation(graph, options).eval()

    def learn(self, examples: Sequence[Inputs]) -> Values:
        """Cayley SGD from the drawn matrices on; the best of those that were checked is kept."""
        matrices = [q.clone() for q in self._start]
        momenta = [torch.zeros_like(q) for q in matrices]
        steps = self._options.steps
        batches = [part for inputs in examples for part in _split(inputs, self._options.batch)]
        best = first = self._value(matrices, batches[:CHECKED])
        kept = self._start
        for step, inputs in enumerate(islice(cycle(batches), steps)):
            rate = self._options.rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            leaves = [q.requires_grad_(True) for q in matrices]
            gradients = torch.autograd.grad(self._loss(leaves, inputs), leaves)
            moved = [
                cayley_step(q.detach(), g, m, rate)
                for q, g, m in zip(leaves, gradients, momenta, strict=True)
            ]
            matrices, momenta = [q for q, _ in moved], [m for _, m in moved]
            if (steps - 1 - step) % max(1, steps // CHECKS) == 0:
                value = self._value(matrices, batches[:CHECKED])
                best, kept = (value, matrices) if value < best else (best, kept)
        found = {str(index): q.detach().float() for index, q in enumerate(kept)}
        return {**found, "loss": torch.tensor([first, best])}

    @torch.no_grad()
    def _value(self, matrices: Sequence[Tensor], batches: Sequence[Inputs]) -> float:
        return average([float(self._loss(matrices, inputs)) for inputs in batches])

    def _loss(self, matrices: Sequence[Tensor], inputs: Inputs) -> Tensor:
        """KL of the first output's last axis, averaged over positions; nats."""
        with torch.no_grad():
            wanted = self._graph.module(*inputs)[0]
        held = {
            self._graph.attribute_of[part.name]: part.turned(q).float()
            for q, parts in zip(matrices, self._parts, strict=True)
            for part in parts
        }
        logits = torch.func.functional_call(self._model.module, held, inputs)[0]
        classes = logits.shape[-1]
        return functional.kl_div(
            functional.log_softmax(logits.reshape(-1, classes), -1),
            functional.log_softmax(wanted.reshape(-1, classes), -1),
            log_target=True,
            reduction="batchmean",
        )


def _parts(stream: Stream) -> list[_Part]:
    """Every initializer that a rotation of the stream changes."""
    readers = {layer for _, found in stream.norms for layer in found} | set(stream.direct)
    writers = set(stream.writers)
    parts = []
    for layer in stream.layers:
        weight = layer.node.inputs[layer.weight_index]
        assert weight is not None
        parts.append(_weight(str(weight.name), layer, layer in readers, layer in writers))
        place = layer.bias_place if layer in writers else None
        bias = None if place is None else place[0].inputs[place[1]]
        if bias is not None:
            parts.append(_row(str(bias.name), layer.bias))
    for node, index in stream.constants:
        value = node.inputs[index]
        assert value is not None
        parts.append(_row(str(value.name), spread(wide(value), stream.width)))
    return parts


def _weight(name: str, layer: Linear, reads: bool, writes: bool) -> _Part:
    held = layer.weight.clone()

    def turned(q: Tensor) -> Tensor:
        weight = turned_inputs(held, q) if reads else held
        return layer.stored(turned_outputs(weight, q) if writes else weight)

    return _Part(name, turned)


def _row(name: str, held: Tensor) -> _Part:
    return _Part(name, lambda q: held @ q)


def _shared(options: SpinQuantOptions) -> dict[str, object]:
    """The options that it has in common with random rotation."""
    return {name: getattr(options, name) for name in RotateOptions.model_fields}


def _simulation(graph: Graph, options: SpinQuantOptions) -> QuantizedGraph:
    """The network with ranges that follow, on the grids that the options ask for."""
    active = options.activation_bits
    size = options.group_size
    weights = WeightGrid(bits=min(options.bits, 8), granularity="group" if size else "channel")
    weights = (
        WeightGrid(bits=weights.bits, granularity="group", group_size=size) if size else weights
    )
    place = target("ort-cpu-vnni" if active else "weight-only")
    sites = place.sites(graph, weights, ActivationGrid(bits=active) if active else None)
    kept = [site for site in sites if site.kind == "activation" or options.bits <= 8]

    def made(site: Site) -> Quantizer:
        return Following(site.grid, site.shape)

    return QuantizedGraph(graph, [site for site in kept if site.kind != "bias"], made)


def _examples(batches: Batches, count: int) -> list[Inputs]:
    found, seen = [], 0
    for inputs in batches():
        found.append(tuple(x[: count - seen] for x in inputs))
        seen += len(found[-1][0])
        if seen >= count:
            break
    if not seen:
        raise DataError("there are no calibration examples to learn from; give some with --data")
    return found


def _split(inputs: Inputs, size: int) -> list[Inputs]:
    return list(zip(*(x.split(size) for x in inputs), strict=True))
