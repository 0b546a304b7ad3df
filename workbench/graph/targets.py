"""Where the file will run: which sites are quantized and which grids are legal there.

A target turns what a person asked for (`WeightGrid`, `ActivationGrid`, overrides) into sites with
grids, or refuses with the node and the nearest legal choice.
"""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Literal

import onnx_ir as ir
from pydantic import Field

from workbench.foundation.errors import TargetError
from workbench.foundation.options import Options
from workbench.graph.build import Graph
from workbench.graph.sites import Layer, Site, Weight, is_constant, layers, value_shape
from workbench.maths.grid import Granularity, Grid

BIAS_BITS = 32
#: operators whose data input is quantized so that the runtime can use integer kernels
INTEGER_OPS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
#: a convolution runs on integers only if its output is quantized; these read it without a weight
POOLS = frozenset({"GlobalAveragePool", "AveragePool", "ReduceMean"})


class WeightGrid(Options):
    """What is asked of the weights."""

    bits: Annotated[int, Field(ge=1, le=8, description="bits of each weight")] = 4
    granularity: Annotated[
        Literal["tensor", "channel", "group"], Field(description="values that share a scale")
    ] = "channel"
    group_size: Annotated[int, Field(ge=1, le=4096, description="weights in a group")] = 32
    symmetric: Annotated[bool, Field(description="zero-point fixed at 0")] = True


class ActivationGrid(Options):
    """What is asked of the activations."""

    bits: Annotated[int, Field(ge=2, le=16, description="bits of each activation")] = 8
    symmetric: Annotated[bool, Field(description="signed, zero-point fixed at 0")] = False


class Override(Options):
    """Other bits for the layers whose name matches `pattern` (shell wildcards); 0 keeps float."""

    pattern: Annotated[str, Field(min_length=1, description="layer name, * and ? allowed")]
    weights: Annotated[int | None, Field(ge=0, le=8, description="0 is float")] = None
    activations: Annotated[int | None, Field(ge=0, le=16, description="0 is float")] = None


@dataclass(frozen=True)
class LayerBits:
    """The bits of one layer after edges and overrides; 0 is float."""

    weights: int
    activations: int


class Target(ABC):
    """Base of all targets.

    Class attributes:
        quantizes_activations: False for targets that store small and compute in float.
        group_weights: True where group-wise scales are legal.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    quantizes_activations: ClassVar[bool] = True
    group_weights: ClassVar[bool] = False

    def sites(
        self,
        graph: Graph,
        weights: WeightGrid,
        activations: ActivationGrid | None,
        overrides: Sequence[Override] = (),
        edges: int | None = 8,
    ) -> list[Site]:
        """Sites in the order of the graph: activations before the weights that meet them.

        Raises:
            TargetError: a grid this target cannot run, or a pattern that matches nothing.
        """
        self.check(weights, activations)
        found = layers(graph)
        bits = _bits(found, weights, activations, overrides, edges)
        sites = list(self._weight_sites(found, weights, bits))
        if activations is not None:
            active = _activation_sites(graph, activations, found, bits)
            sites = active + sites + _bias_sites(found, sites, active)
        return sorted(sites, key=_order(graph))

    def check(self, weights: WeightGrid, activations: ActivationGrid | None) -> None:
        """Refuse what this target cannot run, whatever the graph."""
        if activations is not None and not self.quantizes_activations:
            raise TargetError(
                f"target '{self.name}' keeps activations float, not {activations.bits} bits; "
                "use activations='float' or target 'ort-cpu'"
            )
        if weights.granularity == "group" and activations is not None:
            raise TargetError(
                "group-wise weights with quantized activations do not run in ONNX Runtime; "
                "use granularity 'channel', or float activations"
            )

    def _weight_sites(
        self, found: Sequence[Layer], request: WeightGrid, bits: dict[str, LayerBits]
    ) -> Iterator[Site]:
        seen: dict[str, Site] = {}
        for layer in found:
            width = bits[layer.name].weights
            for weight in layer.weights if width else ():
                edge = (layer.name, weight.index)
                if weight.name in seen:
                    site = seen[weight.name]
                    seen[weight.name] = replace(site, edges=(*site.edges, edge))
                    continue
                grid = _weight_grid(request, weight, layer, width)
                seen[weight.name] = Site(
                    weight.name, "weight", weight.name, (edge,), layer.name, grid, weight.shape
                )
        yield from seen.values()


class OrtCpu(Target):
    """ONNX Runtime on the CPU: integer kernels where weights and activations are quantized."""

    name = "ort-cpu"
    title = "ONNX Runtime, CPU"


class WeightOnly(Target):
    """Weights are stored small and dequantized; all arithmetic stays in float."""

    name = "weight-only"
    title = "Weights only (small file, float arithmetic)"
    quantizes_activations = False
    group_weights = True


TARGETS: dict[str, Target] = {target.name: target for target in (OrtCpu(), WeightOnly())}


def target(name: str) -> Target:
    """The target called `name`, or a `TargetError` that lists those known."""
    if name not in TARGETS:
        raise TargetError(f"unknown target '{name}'; known are: {', '.join(sorted(TARGETS))}")
    return TARGETS[name]


def _bits(
    found: Sequence[Layer],
    weights: WeightGrid,
    activations: ActivationGrid | None,
    overrides: Sequence[Override],
    edges: int | None,
) -> dict[str, LayerBits]:
    """Bits of each layer: the global ones, then first and last layer, then overrides in order."""
    active = activations.bits if activations is not None else 0
    table = {layer.name: LayerBits(weights.bits, active) for layer in found}
    if edges and found:
        raised = LayerBits(max(edges, weights.bits), max(edges, active) if active else 0)
        table |= {layer.name: raised for layer in (found[0], found[-1])}
    for override in overrides:
        names = [name for name in table if fnmatchcase(name, override.pattern)]
        if not names:
            raise TargetError(
                f"override pattern '{override.pattern}' matches no layer; "
                f"layers are, for example: {', '.join(list(table)[:4])}"
            )
        for name in names:
            table[name] = _overridden(table[name], override)
    return table


def _overridden(bits: LayerBits, override: Override) -> LayerBits:
    changed = {
        key: value
        for key in ("weights", "activations")
        if (value := getattr(override, key)) is not None
    }
    return replace(bits, **changed)


def _weight_grid(request: WeightGrid, weight: Weight, layer: Layer, bits: int) -> Grid:
    if request.granularity == "tensor":
        granularity = Granularity()
    elif request.granularity == "channel" or layer.op not in ("Gemm", "MatMul"):
        granularity = Granularity("channel", weight.channel_axis)
    else:
        granularity = Granularity("group", weight.input_axis, request.group_size)
    return Grid(bits, request.symmetric, request.symmetric, granularity)


def _activation_sites(
    graph: Graph,
    request: ActivationGrid,
    found: Sequence[Layer],
    bits: dict[str, LayerBits],
) -> list[Site]:
    """One site per tensor that an integer operator or a residual addition reads."""
    by_name = {layer.name: layer for layer in found}
    edges: dict[str, list[tuple[str, int]]] = {}
    widths: dict[str, list[int]] = {}
    values: dict[str, ir.Value] = {}
    for node in graph.model.graph:
        width = _activation_width(node, by_name, bits, request)
        for index, value in _read(node, by_name) if width else ():
            name = str(value.name)
            edges.setdefault(name, []).append((str(node.name), index))
            widths.setdefault(name, []).append(width)
            values[name] = value
    return [
        Site(
            name=name,
            kind="activation",
            tensor=name,
            edges=tuple(readers),
            layer=next((node for node, _ in readers if node in by_name), None),
            grid=Grid(max(widths[name]), request.symmetric, request.symmetric),
            shape=value_shape(values[name]),
        )
        for name, readers in edges.items()
    ]


def _activation_width(
    node: ir.Node, by_name: dict[str, Layer], bits: dict[str, LayerBits], request: ActivationGrid
) -> int:
    """Bits of the activations that a node reads; 0 where they stay float."""
    if node.name in by_name:
        asked = bits[node.name]
        return asked.activations if asked.weights and node.op_type in INTEGER_OPS else 0
    if node.op_type in POOLS:
        maker = _maker(node)
        return request.bits if maker in by_name and bits[maker].activations else 0
    return request.bits if node.op_type in ("Add", "MatMul") else 0


def _maker(node: ir.Node) -> str:
    """The convolution whose output, through its activation function, this node reads."""
    value = node.inputs[0]
    producer = value.producer() if value is not None else None
    while producer is not None and producer.op_type in ("Relu", "Clip"):
        source = producer.inputs[0]
        producer = source.producer() if source is not None else None
    return str(producer.name) if producer is not None and producer.op_type == "Conv" else ""


def _read(node: ir.Node, by_name: dict[str, Layer]) -> Iterator[tuple[int, ir.Value]]:
    """The (index, value) pairs of a node's inputs that are activations worth quantizing."""
    weights = {w.index for w in by_name[node.name].weights} if node.name in by_name else set()
    indices = (0, 1) if node.op_type in ("Add", "MatMul") else (0,)
    pairs = [(i, v) for i in indices if (v := node.inputs[i]) is not None]
    constant = any(is_constant(value) for index, value in pairs if index not in weights)
    floats = all(value.dtype in (ir.DataType.FLOAT, None) for _, value in pairs)
    if constant or not floats:
        return
    yield from ((index, value) for index, value in pairs if index not in weights)


def _bias_sites(
    found: Sequence[Layer], weights: Sequence[Site], active: Sequence[Site]
) -> list[Site]:
    """int32 biases of the layers whose weight and input are both quantized."""
    by_layer = {site.layer: site for site in weights}
    inputs = {edge for site in active for edge in site.edges}
    sites = []
    for layer in found:
        weight = by_layer.get(layer.name)
        if weight is None or (layer.name, 0) not in inputs or not _has_own_bias(layer, weight):
            continue
        kind = weight.grid.granularity.kind
        granularity = Granularity("channel", 0) if kind == "channel" else Granularity()
        grid = Grid(BIAS_BITS, granularity=granularity)
        edge = (layer.name, 2)
        size = (layer.parameters - math.prod(weight.shape),)
        name = str(layer.bias)
        sites.append(Site(name, "bias", name, (edge,), layer.name, grid, size))
    return sites


def _has_own_bias(layer: Layer, weight: Site) -> bool:
    """A bias of this layer alone, one value for each scale (a grouped ConvTranspose has more)."""
    if layer.bias is None or layer.offset != layer.bias:
        return False
    grid, size = weight.grid, layer.parameters - math.prod(weight.shape)
    return grid.granularity.kind != "channel" or size == weight.shape[grid.granularity.axis]


def _order(graph: Graph) -> Callable[[Site], tuple[int, int, int]]:
    """Sort key: position of the first reader; activation, weight, bias within a node."""
    position = {node.name: index for index, node in enumerate(graph.model.graph)}
    rank = {"activation": 0, "weight": 1, "bias": 2}
    return lambda site: (position[site.edges[0][0]], rank[site.kind], site.edges[0][1])
