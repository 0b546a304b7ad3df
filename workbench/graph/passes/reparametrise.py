"""Equal ranges for the channels behind a normalization (RepQ-ViT, Li et al. 2023, sec. 3.2).

arXiv:2212.08254. The channels of what a LayerNorm gives have very different ranges, so one scale
and zero-point for the tensor serve few of them. With those of each channel, s and z, and their
means s̃ and z̃ over the channels,

    r1 = s / s̃,   r2 = z - z̃
    γ' = γ / r1,   β' = (β + s r2) / r1,   W' = W r1,   b' = b - W (s r2)

give the same network, in which s̃ and z̃ serve all channels: X' = (X + s r2) / r1. Only ranges count
here, s ∝ high - low and -z s = low. A normalization without offset, or one whose result is read by
anything but layers, keeps its shift or stays as it is. What is taken from the activations goes into
the weights, whose columns then differ: they have to be calibrated afterwards, and below 8 bits they
may lose more than the activations gain.

Each channel's range is the best of three percentiles, as in the paper, which looks at 32 images.
"""

from __future__ import annotations

from typing import Annotated

import onnx_ir as ir
import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.ops.dtypes import torch_dtype
from workbench.graph.passes.base import FoldRecord, set_constant, wide
from workbench.graph.passes.channels import layers_of
from workbench.graph.passes.observe import sources
from workbench.graph.passes.registry import Batches, Measured, Transform, transformation
from workbench.graph.passes.scaling import Group, groups, scale
from workbench.graph.tensors import constant_of
from workbench.maths.calibrators.base import Samples
from workbench.maths.calibrators.percentiles import percentiles
from workbench.maths.grid import Grid
from workbench.maths.reservoir import Reservoir

SHIFTED, SCALED = "LayerNormalization", "RMSNormalization"
#: a channel is scaled by no more than this and no less than its inverse
MOST = 1e3


class ReparametriseOptions(Options):
    """Options of the reparametrization."""

    activation_bits: Annotated[
        int, Field(ge=2, le=16, description="bits at which the ranges are judged")
    ] = 8
    examples: Annotated[
        int, Field(ge=1, le=100_000, description="calibration examples to look at")
    ] = 32


@transformation(
    "reparametrise",
    title="RepQ: equal channels behind LayerNorm",
    citation="Li et al. 2023, arXiv:2212.08254",
    order=65,
    exact=True,
    options=ReparametriseOptions,
    signal="tensor range",
    data="unlabelled, 32 examples",
    cost="seconds",
    cells=("transform/tensor_error",),
    strategy="reconstruction",
    use="transformers where a few channels behind a LayerNorm are far larger than the others",
)
class Reparametrise(Transform):
    """Gives each channel behind a LayerNorm the same range, by its gain and the next weights."""

    options: ReparametriseOptions

    def measure(self, model: ir.Model, batches: Batches) -> dict[str, Tensor]:
        """r1 and the shift of X' of each channel, `(2, channels)`, by the tensor X."""
        options = self.options
        found = [group for group in groups(model.graph) if _norm(group) is not None]
        rows = {group.name: Reservoir() for group in found}
        for group, values in sources(model, found, batches, options.examples):
            rows[group.name].add(values)
        grid = Grid(options.activation_bits, signed=False, symmetric=False)
        measured = {}
        for group in found:
            low, high = percentiles(Samples(rows[group.name].rows.T.contiguous()), grid)
            if _offset(group) is None:
                high = torch.maximum(-low, high)
                low = -high
            measured[group.name] = torch.stack(folding(low, high)).float()
        return measured

    def apply(self, model: ir.Model, measured: Measured) -> FoldRecord:
        factors = {name: found[0] for name, found in measured.items()}
        record = scale(model, factors, "norms reparametrised")
        layers = layers_of(model.graph)
        for group in groups(model.graph):
            node = _offset(group)
            if group.name in measured and node is not None:
                shift = measured[group.name][1].double()
                _move(model.graph, node, shift)
                for reader in group.readers:
                    layer = layers[reader.node]
                    layer.bias = layer.bias - layer.response(shift)
                    layer.write(model.graph)
        return record


def folding(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """r1 and shift of X' = X / r1 + shift, `(channels,)` each, float64.

    Args:
        low, high: the range of each channel.

    Example:
        >>> folding(torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 6.0]))[0].tolist()
        [0.5, 1.5]
    """
    low, width = low.double(), (high - low).double()
    mean = width.mean().clamp(min=torch.finfo(torch.float32).tiny)
    factors = (width / mean).clamp(1 / MOST, MOST)
    begins = low / factors
    return factors, begins.mean() - begins


def _norm(group: Group) -> ir.Node | None:
    """The normalization that makes the group's tensor, for its layers alone."""
    node = group.source.producer()
    if node is None or group.before != (str(node.name),):
        return None
    return node if node.op_type in (SHIFTED, SCALED) else None


def _offset(group: Group) -> ir.Node | None:
    """The same where it has an offset for each channel."""
    node = _norm(group)
    given = node is not None and len(node.inputs) > 2 and node.inputs[2] is not None
    return node if given and node is not None and node.op_type == SHIFTED else None


def _move(graph: ir.Graph, norm: ir.Node, shift: Tensor) -> None:
    """Add the shift to a norm's offset."""
    value = norm.inputs[2]
    assert value is not None
    constant = constant_of(value)
    assert constant is not None
    moved = (wide(value) + shift).to(torch_dtype(int(constant.dtype)))
    set_constant(graph, norm, 2, moved, str(value.name))
