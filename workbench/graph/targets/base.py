"""What a target is: data that says which sites a graph has there, and which grids are legal.

A target turns what a person asked for (`WeightGrid`, `ActivationGrid`, overrides) into sites with
grids, or refuses with the node and the nearest legal choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnx_ir as ir

from workbench.foundation.errors import TargetError
from workbench.graph.build import Graph
from workbench.graph.sites import WEIGHT_INPUTS, Layer, Site, layers
from workbench.graph.targets.activations import Planner, Tensors, activation_sites
from workbench.graph.targets.meetings import Meetings
from workbench.graph.targets.requests import (
    FEWEST_ACTIVATION_BITS,
    ActivationGrid,
    Override,
    WeightGrid,
)
from workbench.graph.targets.rules import Meeting, Rule, has_body, no_doubt
from workbench.graph.targets.weights import bias_sites, weight_sites
from workbench.graph.targets.widths import Widths, widths

ANY_WEIGHTS = tuple(range(1, 9))
ANY_ACTIVATIONS = tuple(range(FEWEST_ACTIVATION_BITS, 17))
STANDARD = ("", "ai.onnx")
MOST_WEIGHT_BITS = 8
_RANK = {"activation": 0, "weight": 1, "bias": 2}

WeightLimit = Callable[[ir.Node, Layer, WeightGrid, int], int]


def no_limit(node: ir.Node, layer: Layer, request: WeightGrid, active: int) -> int:  # noqa: ARG001
    """Kernels that sum in 32 bits take all codes."""
    return MOST_WEIGHT_BITS


@dataclass(frozen=True)
class Plan:
    """What a target makes of a request.

    Attributes:
        sites: in the order of the graph, activations before the weights that meet them.
        tensors: why nodes are or are not on integers; None where activations stay float.
        widths: the bits that were asked for, after edges and overrides.
        layers: the layers whose weights the target can quantize.
    """

    sites: list[Site]
    tensors: Tensors | None
    widths: Widths
    layers: list[Layer]


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a file will run.

    Attributes:
        name, title: for recipes and for people; runtime: what runs the file, for messages.
        weight_ops: operators whose weights are quantized.
        rules: operator -> how it computes on integers; other: the rule of operators not listed,
            None where they stay float; never: those that the latter leaves alone.
        weight_bits: legal beside quantized activations; stored_bits: beside float ones.
        activation_bits: legal widths; none where activations stay float.
        zero_points: asymmetric activations are legal; weight_zero_points: asymmetric weights.
        granularities: legal for weights.
        grouped_bits: widths that may have groups; grouped_beside_integers: the same beside
            quantized activations.
        tables: weights may have levels of a table, where activations are float.
        int32_bias: biases are held in the accumulator's grid, otherwise in float.
        constants: operators compute on integers beside a constant operand too.
        own_levels: activations may have levels that are not equal steps; their readers then compute
            in float.
        opset: the oldest that its files need.
        weight_limit: most bits of a layer's weight codes, for what its kernel may saturate;
            limit_note: what a site says where that was less than asked for.
        why_float: why the runtime computes a node in float although integers meet there, or "".
        fuses: what the runtime merges, one sentence each.
    """

    name: str
    title: str
    runtime: str
    weight_ops: frozenset[str] = frozenset(WEIGHT_INPUTS) - {"Gather"}
    rules: Mapping[str, Rule] = field(default_factory=dict)
    other: Rule | None = None
    never: frozenset[str] = frozenset()
    weight_bits: tuple[int, ...] = ANY_WEIGHTS
    stored_bits: tuple[int, ...] = ANY_WEIGHTS
    activation_bits: tuple[int, ...] = ()
    zero_points: bool = True
    weight_zero_points: bool = True
    granularities: tuple[str, ...] = ("tensor", "channel", "group")
    grouped_bits: tuple[int, ...] = ANY_WEIGHTS
    grouped_beside_integers: tuple[int, ...] = ()
    tables: bool = True
    int32_bias: bool = True
    constants: bool = False
    own_levels: bool = False
    opset: int = 21
    weight_limit: WeightLimit = no_limit
    limit_note: str = ""
    why_float: Callable[[Meeting], str] = no_doubt
    fuses: tuple[str, ...] = ()

    @property
    def quantizes_activations(self) -> bool:
        """False for targets that store small and compute in float."""
        return bool(self.activation_bits)

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
        return self.plan(graph, weights, activations, overrides, edges).sites

    def plan(
        self,
        graph: Graph,
        weights: WeightGrid,
        activations: ActivationGrid | None,
        overrides: Sequence[Override] = (),
        edges: int | None = 8,
    ) -> Plan:
        """The sites, with what led to them; raises as `sites` does."""
        self.check(weights, activations, overrides)
        nodes = {str(node.name): node for node in graph.model.graph}
        order = {name: index for index, name in enumerate(nodes)}
        found = [layer for layer in layers(graph) if layer.op in self.weight_ops]
        asked = widths(graph, found, weights, activations, overrides, edges)
        self._check_layers(found, asked, nodes)
        tensors = None
        active: list[Site] = []
        if activations is not None:
            rules = {name: self.rule(node) for name, node in nodes.items()}
            tensors = Planner(graph, found, asked, rules, self.runtime, self.constants).run()
            active = activation_sites(tensors, self._settled(activations), asked, order)
            active = _with_own_levels(active) if self.own_levels else active
        inputs = _input_bits(found, active)
        held = weight_sites(self, found, nodes, weights, asked, inputs)
        if tensors is not None and any(site.note for site in held):  # a limit may be for nothing
            floats = self._computed_in_float(nodes, tensors, (*active, *held))
            held = weight_sites(self, found, nodes, weights, asked, inputs, floats)
        bias = bias_sites(found, held, inputs) if self.int32_bias else []
        ordered = sorted((*active, *held, *bias), key=lambda site: _place(site, order))
        return Plan(ordered, tensors, asked, found)

    def _computed_in_float(
        self, nodes: Mapping[str, ir.Node], tensors: Tensors, sites: Iterable[Site]
    ) -> set[str]:
        """Layers without an integer kernel, though what they read may be quantized."""
        meetings = Meetings(sites, tensors.fused, "int8")  # few bits are within every limit
        return {
            name
            for name in tensors.layers
            if name not in tensors.active
            or self.blocked(nodes[name], tensors)
            or self.why_float(meetings.at(nodes[name]))
        }

    def blocked(self, node: ir.Node, tensors: Tensors) -> str:
        """Why a node that reads integers cannot give them, where its kernel has to, or ""."""
        rule = self.rule(node)
        writes = rule is not None and rule.writes and not self.constants
        return tensors.why.get(str(node.name), "") if writes else ""

    def rule(self, node: ir.Node) -> Rule | None:
        """How this target computes a node on integers, None where it cannot."""
        if has_body(node):
            return None
        if node.domain in STANDARD and node.op_type in self.rules:
            return self.rules[node.op_type]
        return None if node.op_type in self.never else self.other

    def record(self) -> dict[str, Any]:
        """What people want to know about it, as plain JSON values."""
        return {
            "name": self.name,
            "title": self.title,
            "operators": "all" if self.other else sorted(self.rules),
            "weight_operators": sorted(self.weight_ops),
            "weight_bits": list(self.weight_bits),
            "stored_bits": list(self.stored_bits),
            "activation_bits": list(self.activation_bits),
            "zero_points": self.zero_points,
            "weight_zero_points": self.weight_zero_points,
            "granularities": list(self.granularities),
            "level_tables": self.tables,
            "activation_levels": self.own_levels,
            "bias": "int32" if self.int32_bias else "float",
            "shares": sorted(op for op, rule in self.rules.items() if rule.shares),
            "saturates": self.limit_note.format(width=8) if self.limit_note else "",
            "opset": self.opset,
            "fuses": list(self.fuses),
        }

    def check(
        self,
        weights: WeightGrid,
        activations: ActivationGrid | None,
        overrides: Sequence[Override] = (),
    ) -> None:
        """Refuse what this target cannot run, whatever the graph.

        Raises:
            TargetError: the value, and the nearest that is legal.
        """
        self._check_activations(activations, overrides)
        legal = self.weight_bits if activations is not None else self.stored_bits
        if weights.bits not in legal:
            cure = nearest(weights.bits, legal)
            also = "" if activations is None else self._with_float(weights.bits)
            raise TargetError(
                f"target '{self.name}' runs weights of {listed(legal)} bits, not {weights.bits}; "
                f"use {cure}{also}"
            )
        if not weights.symmetric and not self.weight_zero_points:
            raise TargetError(
                f"target '{self.name}' has no zero-points of weights; use symmetric weights"
            )
        self._check_granularity(weights, activations)
        if weights.table != "uniform" and not self.tables:
            raise TargetError(
                f"target '{self.name}' cannot look up the levels of '{weights.table}'; "
                "use table 'uniform', or target 'weight-only'"
            )

    def _check_granularity(self, weights: WeightGrid, activations: ActivationGrid | None) -> None:
        if weights.granularity not in self.granularities:
            raise TargetError(
                f"target '{self.name}' has no scales per {weights.granularity}; use granularity "
                + " or ".join(f"'{name}'" for name in self.granularities)
            )
        if weights.granularity != "group":
            return
        legal = self.grouped_bits if activations is None else self.grouped_beside_integers
        if weights.bits in legal:
            return
        beside = "" if activations is None else " beside quantized activations"
        choices = [f"{nearest(weights.bits, legal)} bits"] if legal else []
        choices += ["granularity 'channel'"]
        choices += ["float activations"] if beside and weights.bits in self.grouped_bits else []
        raise TargetError(
            f"group-wise weights of {weights.bits} bits do not run{beside} on target "
            f"'{self.name}'; use {', or '.join(choices)}"
        )

    def _check_activations(
        self, activations: ActivationGrid | None, overrides: Sequence[Override]
    ) -> None:
        if activations is None:
            for override in overrides:
                if override.activations:
                    raise TargetError(
                        f"override '{override.pattern}' asks for {override.activations}-bit "
                        "activations where all are float; give the recipe activations, or drop it"
                    )
            return
        if not self.quantizes_activations:
            raise TargetError(
                f"target '{self.name}' keeps activations float, not {activations.bits} bits; "
                "use activations='float' or target 'ort-cpu'"
            )
        if activations.bits not in self.activation_bits:
            raise TargetError(
                f"target '{self.name}' runs activations of {listed(self.activation_bits)} bits, "
                f"not {activations.bits}; use {nearest(activations.bits, self.activation_bits)}"
            )
        if activations.symmetric is False and not self.zero_points:
            raise TargetError(f"target '{self.name}' has no zero-points; use symmetric activations")

    def _check_layers(
        self, found: Iterable[Layer], asked: Widths, nodes: Mapping[str, ir.Node]
    ) -> None:
        for name, bits in asked.activations.items():
            self._require(f"node '{name}'", bits, "activations", self.activation_bits)
        for pattern, names in asked.insisted.items():
            self._check_operators(pattern, names, asked, nodes)
        held = {weight.name for layer in found for weight in layer.weights}
        for layer in found:
            rule = self.rule(nodes[layer.name])
            integer = rule is not None and asked.activations[layer.name]
            legal = self.weight_bits if integer else self.stored_bits
            for weight in layer.weights:
                bits = asked.of_weight(layer.name, weight.name)
                self._require(f"layer '{layer.name}'", bits, "weights", legal)
        for name, bits in asked.tensors.items():
            if name not in held:
                self._require(f"tensor '{name}'", bits, "activations", self.activation_bits)

    def _check_operators(
        self, pattern: str, names: Sequence[str], asked: Widths, nodes: Mapping[str, ir.Node]
    ) -> None:
        """Operators that never compute on integers here cannot be given activation bits."""
        if all(self.rule(nodes[name]) is None for name in names):
            raise TargetError(
                f"override '{pattern}' asks for {asked.activations[names[0]]}-bit activations at "
                f"'{names[0]}', but {self.runtime} has no integer kernel for "
                f"{nodes[names[0]].op_type}; drop it, or use target 'npu-int'"
            )

    def _require(self, owner: str, bits: int, what: str, legal: tuple[int, ...]) -> None:
        if bits and bits not in legal:
            raise TargetError(
                f"{owner} asked for {bits}-bit {what}; target '{self.name}' runs "
                f"{listed(legal)}; use {nearest(bits, legal)}"
            )

    def _with_float(self, bits: int) -> str:
        return ", or float activations" if bits in self.stored_bits else ""

    def _settled(self, activations: ActivationGrid) -> ActivationGrid:
        """Symmetric where nobody said anything and the target has no zero-points."""
        if activations.symmetric is not None:
            return activations
        return activations.model_copy(update={"symmetric": not self.zero_points})


def _with_own_levels(active: list[Site]) -> list[Site]:
    """Tensors that share their codes with others keep equal steps: codes pass between them."""
    leaders = {site.shares for site in active}
    return [
        replace(site, own_levels=site.shares is None and site.name not in leaders)
        for site in active
    ]


def nearest(bits: int, legal: Sequence[int]) -> int:
    """The legal width closest to `bits`; of two, the wider."""
    return min(legal, key=lambda width: (abs(width - bits), -width))


def listed(bits: Sequence[int]) -> str:
    """`1 to 8`, or `4 or 8`."""
    first, last = bits[0], bits[-1]
    whole = len(bits) == last - first + 1 and len(bits) > 2
    return f"{first} to {last}" if whole else " or ".join(str(width) for width in bits)


def _input_bits(found: Iterable[Layer], active: Iterable[Site]) -> dict[str, int]:
    """Bits of the quantized data that each layer reads."""
    by_edge = {edge: site.grid.bits for site in active for edge in site.edges}
    table: dict[str, int] = {}
    for layer in found:
        data = next(index for index in (0, 1) if index not in layer.weight_indices)
        if (layer.name, data) in by_edge:
            table[layer.name] = by_edge[layer.name, data]
    return table


def _place(site: Site, order: Mapping[str, int]) -> tuple[int, int, int]:
    """Position of the first reader; activation, weight, bias within a node."""
    return order[site.edges[0][0]], _RANK[site.kind], site.edges[0][1]
