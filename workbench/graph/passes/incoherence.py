"""Another basis for what linear layers hand to linear layers (after QuIP and QuIP#).

QuIP (Chee et al. 2023, arXiv:2307.13304) and QuIP# (Tseng et al. 2024, arXiv:2402.04396) multiply
weights by random rotations before they round, so that no single weight stands out of its row and
rounding errors lie nowhere in particular. In a transformer that costs work at run time; where
layers without a function between them meet, as the thin layers of inverted residual blocks do, it
costs none. All layers whose outputs are summed into one stream x, and all that read it, change to
the basis T x:

    writers   x += W h + b     becomes   T x += T W h + T b
    readers   y = V x + c      becomes   y = (V T⁻¹) (T x) + c

    T = Q (Σ / mean λ(Σ) + ε I)^(α/2),   Σ = sum of Vᵀ V over the readers,   ε = 0.02

Q is a rotation drawn at random, as there. The second factor is ours. With α = 0 it is absent; with
α = 1 the columns of the readers become white, which for a given determinant makes their rows
smallest: codes that minimise Δw H Δwᵀ have an error near (row's step)² det(H)^(1/K), and T leaves
the determinant to the writers, whose rows have scales of their own. The float output stays the
same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

import onnx_ir as ir
import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.passes.base import FoldRecord, record
from workbench.graph.passes.channels import layers_of
from workbench.graph.passes.linear import Linear
from workbench.graph.passes.registry import Measured, Transform, transformation
from workbench.graph.passes.rotate import drawn, peaks, seeded, turned_inputs, turned_outputs

#: share of the mean eigenvalue that every direction of the readers is given
FLOOR = 0.02
NOTHING = "no linear layers meet without a function between them; leave it out here"


class IncoherenceOptions(Options):
    """Options of the change of basis."""

    seed: Annotated[int, Field(ge=0, le=2**31, description="draws the rotations")] = 0
    whiten: Annotated[
        float,
        Field(ge=0, le=1, description="how far the columns of the readers are made alike; α"),
    ] = 0.5


@transformation(
    "incoherence",
    title="Another basis between linear layers (after QuIP)",
    citation="rotation: Chee et al. 2023, arXiv:2307.13304; Tseng et al. 2024, arXiv:2402.04396;"
    " whitening: this project",
    order=45,
    exact=True,
    options=IncoherenceOptions,
    signal="second moments of the weights",
    data="none",
    cost="seconds",
    cells=("transform/second_order",),
    strategy="constraints",
    use="weights at 4 bits and below in networks of inverted residual blocks; try a few seeds",
)
class Incoherence(Transform):
    """Turns the streams between linear layers so that no weight stands out of its row."""

    options: IncoherenceOptions

    def apply(self, model: ir.Model, measured: Measured) -> FoldRecord:
        del measured  # the weights say it all
        graph, before = model.graph, peaks(model.graph)
        generator, done = seeded(self.options.seed), []
        for stream in junctions(graph):
            rotation = drawn(stream.width, "orthogonal", generator)
            turn(graph, stream, rotation, self.options.whiten)
            done.append(f"stream of {stream.width} channels, {len(stream.layers)} layers")
        measures = {"weight peak, max / rms": (before, peaks(graph))} if done else {}
        note = "" if done else NOTHING
        return record("made incoherent", done, note, measures)


@dataclass
class Junction:
    """Values that sums tie to one another, with the layers that write and read them."""

    width: int
    writers: list[Linear] = field(default_factory=list)
    readers: list[Linear] = field(default_factory=list)

    @property
    def layers(self) -> list[Linear]:
        """Each layer once."""
        return list(dict.fromkeys([*self.writers, *self.readers]))


def junctions(graph: ir.Graph) -> Iterator[Junction]:
    """The streams that nothing but layers and sums of equal shapes touches."""
    layers = layers_of(graph)
    made = {layer.output: layer for layer in layers.values()}
    seen: set[ir.Value] = set()
    for value, layer in made.items():
        if value not in seen:
            found = _grown(value, layer.outputs, layers, made, seen)
            if found is not None and found.readers:
                yield found


def turn(graph: ir.Graph, stream: Junction, rotation: Tensor, whiten: float) -> None:
    """Writers give T x, readers take it back.

    Args:
        rotation: (width, width), orthogonal.
        whiten: α.
    """
    columns = [layer.weight[0].movedim(1, -1).reshape(-1, stream.width) for layer in stream.readers]
    second = sum(c.mT @ c for c in columns)
    assert isinstance(second, Tensor)
    sizes, axes = torch.linalg.eigh(second)
    sizes = sizes.clamp(min=0)
    # readers of zeros alone have no direction that counts
    sizes = sizes / sizes.mean().clamp(min=torch.finfo(sizes.dtype).tiny) + FLOOR
    root = (axes * sizes.pow(whiten / 2)) @ axes.mT
    inverse = (axes * sizes.pow(-whiten / 2)) @ axes.mT
    for layer in stream.readers:
        layer.weight.copy_(turned_inputs(layer.weight, inverse @ rotation.mT))
        layer.write(graph)
    for layer in stream.writers:
        basis = (rotation @ root).mT
        layer.weight.copy_(turned_outputs(layer.weight, basis))
        layer.bias = layer.bias @ basis
        layer.write(graph)


def _grown(
    seed: ir.Value,
    width: int,
    layers: dict[ir.Node, Linear],
    made: dict[ir.Value, Linear],
    seen: set[ir.Value],
) -> Junction | None:
    """The stream around a value; None where something else looks into it."""
    stream, waiting, whole = Junction(width), [seed], True
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        maker = value.producer()
        writer = made.get(value)
        if writer is not None:
            stream.writers.append(writer)
            whole &= _turns(writer)
        elif maker is not None and _sums(maker):
            waiting += [operand for operand in maker.inputs if operand is not None]
        else:
            whole = False
        whole &= not value.is_graph_output() and value.shape == seed.shape
        for use in value.uses():
            reader = layers.get(use.node)
            if reader is not None and reader.data is value:
                stream.readers.append(reader)
                whole &= _turns(reader) and reader.input_axis == made[seed].output_axis
            elif _sums(use.node):
                waiting.append(use.node.outputs[0])
            else:
                whole = False
    return stream if whole else None


def _turns(layer: Linear) -> bool:
    """All channels are in one group, and the weight serves this layer alone."""
    return layer.shape[0] == 1 and layer.owns_weight


def _sums(node: ir.Node) -> bool:
    """A sum of two values of one known shape, neither a constant."""
    shapes = [value.shape for value in node.inputs if value is not None]
    constant = any(value is not None and value.const_value is not None for value in node.inputs)
    return (
        node.op_type == "Add"
        and not node.domain
        and not constant
        and len(shapes) == 2
        and shapes[0] is not None
        and shapes[0] == shapes[1]
    )
