"""A low-rank correction beside layers (LoRA, Hu et al. 2022, arXiv:2106.09685).

    y = W x + b   becomes   y = W x + b + B A x,     A (r, inputs), B (outputs, r)

B starts at 0, so the network stays the same; A starts evenly within ±(α / r) / √inputs, drawn anew
for each layer from its name. In the paper α / r is a factor of its own behind B; here it lies in A
from the start, which saves a node at run time and lets A learn more slowly against its size.

Targets leave A and B in float (`workbench.graph.corrections`), so a method such as QLoRA can train
them beside codes that no longer move.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

import onnx_ir as ir
import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.foundation.seeds import seed_of
from workbench.graph.corrections import DOWN, UP, corrects
from workbench.graph.passes.base import FoldRecord, record
from workbench.graph.passes.channels import layers_of
from workbench.graph.passes.linear import Linear
from workbench.graph.passes.registry import Measured, Transform, transformation
from workbench.graph.tensors import add_initializer, constant_of, unique, value_names

MATRICES = ("Gemm", "MatMul")


class LowRankOptions(Options):
    """Options of the corrections."""

    rank: Annotated[int, Field(ge=1, le=4096, description="r, of each correction")] = 8
    alpha: Annotated[
        float, Field(gt=0, le=4096, description="α: A starts within ±(α / r) / √inputs")
    ] = 16.0
    pattern: Annotated[
        str, Field(min_length=1, description="names of the layers; * and ? stand for others")
    ] = "*"


@transformation(
    "low_rank",
    title="Low-rank corrections beside layers (LoRA)",
    citation="Hu et al. 2022, arXiv:2106.09685",
    order=95,
    exact=True,
    options=LowRankOptions,
    signal="none",
    data="none",
    cost="seconds",
    cells=("training/task_loss",),
    strategy="parameters",
    use="with the method qlora behind it: weights of 2 to 4 bits that a few float numbers mend",
)
class LowRank(Transform):
    """Adds B A x to the output of each matrix product with weights; B is 0."""

    options: LowRankOptions

    def apply(self, model: ir.Model, measured: Measured) -> FoldRecord:
        graph, added, size = model.graph, [], 0
        for node, layer in layers_of(graph).items():
            if not self._is_chosen(node, layer):
                continue
            size += _correct(graph, layer, self.options.rank, self.options.alpha)
            added.append(str(node.name))
        note = f"{size:,} numbers" if added else f"no matrix product is called '{self._pattern}'"
        return record("low-rank corrections added", added, note)

    @property
    def _pattern(self) -> str:
        return self.options.pattern

    def _is_chosen(self, node: ir.Node, layer: Linear) -> bool:
        weight = constant_of(node.inputs[layer.weight_index])
        narrow = weight is None or weight.dtype != ir.DataType.FLOAT
        if node.op_type not in MATRICES or narrow or corrects(node):
            return False
        return fnmatchcase(str(node.name), self._pattern)


def start(layer: Linear, rank: int, alpha: float, name: str) -> Tensor:
    """A, `(rank, inputs)`; its chance is that of the name alone."""
    inputs = layer.shape[2]
    chance = torch.Generator().manual_seed(seed_of(name))
    even = 2 * torch.rand((rank, inputs), generator=chance) - 1
    return even * (alpha / rank) * inputs**-0.5


def _correct(graph: ir.Graph, layer: Linear, rank: int, alpha: float) -> int:
    """Add the correction of a layer; how many numbers it has."""
    rank = min(rank, layer.outputs, layer.shape[2])
    taken, output = value_names(graph), layer.output
    host = output.producer()
    assert host is not None
    stem = _stem(graph, layer)
    down = start(layer, rank, alpha, stem)
    up = torch.zeros(layer.outputs, rank)
    rows = layer.node.op_type == "Gemm" or layer.weight_index == 1  # x Aᵀ Bᵀ, else B A x
    held = [
        add_initializer(graph, f"{stem}{DOWN}", down.T.contiguous() if rows else down),
        add_initializer(graph, f"{stem}{UP}", up.T.contiguous() if rows else up),
    ]
    total = ir.Value(name=output.name, shape=output.shape, type=output.type)
    output.name = unique(f"{output.name}.plain", taken)
    output.replace_all_uses_with(total, replace_graph_outputs=True)
    total.meta.update(output.meta)
    names = {str(node.name) for node in graph}
    value, nodes = layer.data, []
    for matrix in held:
        assert value is not None
        made = ir.Value(name=unique(f"{matrix.name}.out", taken), type=output.type)
        inputs = [value, matrix] if rows else [matrix, value]
        name = unique(str(matrix.name), names)
        nodes.append(ir.Node("", "MatMul", inputs, outputs=[made], name=name))
        made.shape = _product_shape(value, matrix, rows)
        value = made
    name = unique(f"{stem}.low_rank.add", names)
    nodes.append(ir.Node("", "Add", [output, value], outputs=[total], name=name))
    graph.insert_after(host, nodes)
    return down.numel() + up.numel()


def _stem(graph: ir.Graph, layer: Linear) -> str:
    """What the matrices are called after: the weight, told apart where layers share it."""
    weight = layer.node.inputs[layer.weight_index]
    assert weight is not None
    wanted = stem = str(weight.name).removesuffix(".weight")
    count = 0
    while f"{stem}{DOWN}" in graph.initializers:
        count += 1
        stem = f"{wanted}_{count}"
    return stem


def _product_shape(data: ir.Value, matrix: ir.Value, rows: bool) -> ir.Shape | None:
    if data.shape is None or matrix.shape is None:
        return None
    dims = list(data.shape)
    place = -1 if rows else -2
    dims[place] = matrix.shape[1 if rows else 0]
    return ir.Shape(dims)
